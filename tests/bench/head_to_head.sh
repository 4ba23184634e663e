#!/usr/bin/env bash
# Tessera against transformers + PEFT + bitsandbytes on this CPU: same model, tokens and LoRA.
#
#   TESSERA_REFEREES=/path/to/venv tests/bench/head_to_head.sh MODEL_DIR [TESSERA]
#
# MODEL_DIR is in Hugging Face layout (float32 for the figures in the documentation). TESSERA is the
# binary, build/tessera by default. STEPS (5), ROWS per micro-batch (4), LENGTH (512), THREADS (2)
# and ROUNDS (2) come from the environment. The sides take turns, so that a slow spell of the
# machine meets both; each figure is the median over a run's steps after the first, and the best
# round of each side counts. CHECKPOINTING=1 turns gradient checkpointing on for both.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
model=${1:?usage: head_to_head.sh MODEL_DIR [TESSERA]}
tessera=${2:-$here/../../build/tessera}
python=${TESSERA_REFEREES:?names no Python environment: docs/referees.md}/bin/python3
steps=${STEPS:-5} rows=${ROWS:-4} length=${LENGTH:-512} threads=${THREADS:-2} rounds=${ROUNDS:-2}
checkpointing=${CHECKPOINTING:-0}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

shape=(--steps "$steps" --micro-batch-size "$rows" --sequence-len "$length")
"$python" "$here/peer_train.py" --model "$model" "${shape[@]}" --write-data "$work/rows.jsonl"

peer() {
  local flags=()
  if [ "$checkpointing" = 1 ]; then flags+=(--gradient-checkpointing); fi
  OMP_NUM_THREADS=$threads "$python" "$here/peer_train.py" --model "$model" "${shape[@]}" \
    --data "$work/rows.jsonl" --threads "$threads" "${flags[@]}" >"$work/peer.$1.jsonl"
}

ours() {
  local recompute=false
  if [ "$checkpointing" = 1 ]; then recompute=true; fi
  cat >"$work/ours.$1.yaml" <<YAML
base_model: $model
adapter: qlora
datasets:
  - path: $work/rows.jsonl
    type: tokenized
sequence_len: $length
sample_packing: false
shuffle: false
micro_batch_size: $rows
max_steps: $steps
warmup_steps: 0
lora_r: 16
lora_alpha: 32
learning_rate: 2e-4
gradient_checkpointing: $recompute
device: cpu
output_dir: $work/run.$1
YAML
  # GNU time's %M is the peak resident set of the whole process in KiB.
  OMP_NUM_THREADS=$threads /usr/bin/time -f %M -o "$work/ours.$1.peak" \
    "$tessera" train "$work/ours.$1.yaml" >"$work/ours.$1.log" 2>&1 ||
    { cat "$work/ours.$1.log" >&2; return 1; }
}

for round in $(seq "$rounds"); do
  ours "$round"
  peer "$round"
done

"$python" - "$work" "$rounds" <<'PY'
import json, pathlib, statistics, sys

work, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


peer, ours = [], []
for r in range(1, rounds + 1):
    *_, last = lines(work / f"peer.{r}.jsonl")
    peer.append((last["tokens_per_second"], last["peak_rss_mib"]))
    rates = [l["tokens_per_second"] for l in lines(work / f"run.{r}" / "metrics.jsonl")
             if "tokens_per_second" in l]
    peak = int((work / f"ours.{r}.peak").read_text().split()[-1]) // 1024
    ours.append((statistics.median(rates[1:] or rates), peak))
for name, runs in (("tessera", ours), ("peer", peer)):
    best = max(runs)
    print(f"{name:8} {best[0]:9.1f} tokens/s   peak {best[1]:6d} MiB   all rounds {runs}")
print(f"ratio    {max(ours)[0] / max(peer)[0]:9.2f} x        {max(ours)[1] / max(peer)[1]:6.2f} x")
PY
