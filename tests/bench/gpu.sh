#!/usr/bin/env bash
# How fast models of 8B and 70B train on this machine's GPUs: random weights, nothing is downloaded.
# The Hugging Face stack (torch, transformers, peft, bitsandbytes) does the same beside it where
# python3, or $PYTHON, has it. Prints one table; what does not fit is skipped, with the reason.
# Usage: gpu.sh [BENCH_GPU] [RANKS]     default: builds build-cuda/bench_gpu; all GPUs
set -euo pipefail
cd "$(dirname "$0")/../.."

bench=${1:-build-cuda/bench_gpu}
if [ $# = 0 ]; then
  cmake --preset cuda >/dev/null
  cmake --build build-cuda --target bench_gpu tessera >/dev/null
fi
ranks=${2:-$({ nvidia-smi -L 2>/dev/null || true; } | wc -l)}
if [ "$ranks" = 0 ]; then
  echo "gpu.sh: there is no GPU here; gpu.sh BENCH_GPU RANKS runs what it is given" >&2
  exit 1
fi
read -ra shapes <<<"${SHAPES:-8B 70B}"

printf '| %s ' system model on compute 'rows x tokens' activations 'GPU memory' planned \
  's a step' 'tokens/s a GPU' modelled
echo '|'
echo "|---|---|---|---|---|---|---|---|---|---|---|"

# row COMMAND...: a row, or why there is none.
row() {
  local err
  err=$(mktemp)
  "$@" 2>"$err" || echo "skipped: ${*:1:6}: $(tail -n 1 "$err")"
  rm -f "$err"
}

for shape in "${shapes[@]}"; do
  for how in "2 2048 true" "1 4096 auto" "2 4096 auto"; do
    read -r rows tokens checkpointing <<<"$how"
    settings=(device=cuda bnb_4bit_compute_dtype=bfloat16 micro_batch_size="$rows"
      sequence_len="$tokens" global_batch_size=$((4 * rows * ranks))
      gradient_checkpointing="$checkpointing")
    if [ "$ranks" = 1 ]; then
      row "$bench" "$shape" "${settings[@]}"
    else
      row mpirun -np "$ranks" --bind-to none "$bench" "$shape" "${settings[@]}"
    fi
    if [ "$checkpointing" = true ]; then # as the stack is commonly run
      row "${PYTHON:-python3}" tests/bench/gpu_peer.py "$shape" "$rows" "$tokens"
    fi
  done
done
