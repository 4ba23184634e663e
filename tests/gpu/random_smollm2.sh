#!/usr/bin/env bash
# Writes what the training step of first_minutes.sh trains: a random model of SmolLM2-135M's shape,
# the same everywhere, rows of random tokens, and run.yml, into a folder that it makes.
# Where random_smollm2.json lies beside this script, the eight steps are compared with its lists
# `float64` and `cpu_float32` of {"loss": ..., "grad_norm": ...}.
# Usage: random_smollm2.sh WRITE_MODEL FOLDER [tiny]     tiny: a shape for tests
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
write_model=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shape=(layers=30 hidden=576 ffn=1536 heads=9 kv_heads=3 vocab=49152 shortest=32 longest=128)
[ "${3:-}" != tiny ] || shape=(layers=2 hidden=64 ffn=160 heads=2 kv_heads=1 vocab=256)
"$write_model" "$folder" "${shape[@]}" tied=1 rows=32 adapter=1
settings=$here/eight_steps.yml # in a bundle
[ -e "$settings" ] || settings=$here/../golden/eight_steps.yml
cat "$settings" - >"$folder/run.yml" <<YML
base_model: $folder
datasets:
  - path: $folder/rows.jsonl
    type: tokenized
lora_model_dir: $folder/initial
save_steps: 4
YML
