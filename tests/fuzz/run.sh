#!/usr/bin/env bash
# Fuzzes what reads templates, tokenizers, vocabularies, rows, a hub's answers and GGUF files, and
# what writes these: run.sh BUILD SECONDS [TARGET ...]. Each target begins with the small files that
# the tests are made of, and with what earlier runs found under BUILD. What makes one fail stays in
# BUILD/findings. TESSERA_SEED chooses the mutations.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
golden=$here/../golden
build=$1 seconds=$2
targets=("${@:3}")
[ ${#targets[@]} -gt 0 ] || targets=(jinja tokenizer sentencepiece rows hub gguf gguf_out)
mkdir -p "$build/findings" "$build/seeds"
python3 "$here/write_seeds.py" "$golden" "$build/seeds"
for target in "${targets[@]}"; do
  corpus=$build/corpus/$target
  mkdir -p "$corpus"
  echo "$target"
  "$build/${target}_fuzz" -seed="${TESSERA_SEED:-0}" -max_total_time="$seconds" \
    -max_len=65536 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$build/findings/$target-" \
    "$corpus" "$build/seeds/$target" >"$build/$target.log" 2>&1 || {
    tail -40 "$build/$target.log" >&2
    exit 1
  }
  grep -E 'number_of_executed_units|slowest_unit' "$build/$target.log"
done
