#!/usr/bin/env bash
# Ranks against threads, and what the policies for activations cost, on one machine with 2 cores.
#
#   tests/bench/ranks.sh MODEL ROWS.jsonl [TESSERA]
#
# ROWS holds tokenized rows (peer_train.py --write-data makes some). The sides take turns; each
# figure is the median of a run's steps after the first, and the best of ROUNDS (2) counts. STEPS
# (5) and LENGTH (512) come from the environment.
set -euo pipefail

model=${1:?usage: ranks.sh MODEL ROWS.jsonl [TESSERA]} rows=${2:?ROWS.jsonl is missing}
tessera=${3:-$(dirname "$0")/../../build/tessera}
steps=${STEPS:-5} length=${LENGTH:-512} rounds=${ROUNDS:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/run.yml" <<YAML
base_model: $model
datasets: [{path: $rows, type: tokenized}]
sequence_len: $length
sample_packing: false
shuffle: false
micro_batch_size: 1
global_batch_size: 4
max_steps: $steps
warmup_steps: 0
YAML

# run NAME RANKS SETTING...
run() {
  local name=$1 ranks=$2
  shift 2
  local launcher=()
  [ "$ranks" = 1 ] || launcher=(mpirun --bind-to core -np "$ranks")
  rm -rf "$work/out"
  "${launcher[@]}" "$tessera" train "$work/run.yml" output_dir="$work/out" "$@" \
    >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  cp "$work/out/metrics.jsonl" "$work/$name.$((++runs)).jsonl"
}

runs=0
for _ in $(seq "$rounds"); do
  run "1 rank x 2 threads" 1 threads=2
  run "2 ranks x 1 thread, full" 2 threads=1
  run "2 ranks x 1 thread, replicate" 2 threads=1 sharding=replicate
  run "1 rank, kept" 1 gradient_checkpointing=false
  run "1 rank, recomputed" 1 gradient_checkpointing=true
  run "1 rank, recomputed by 4" 1 gradient_checkpointing=true gradient_checkpointing_layers=4
  run "1 rank, offloaded" 1 gradient_checkpointing=offload
done

python3 - "$work" <<'PY'
import collections, json, pathlib, statistics, sys

best = collections.OrderedDict()
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl"),
                   key=lambda p: int(p.name.split(".")[-2])):
    lines = [json.loads(l) for l in path.read_text().splitlines()]
    steps = [l for l in lines if "tokens_per_second" in l]
    rate = statistics.median([l["tokens_per_second"] for l in steps[1:]])
    entry = (rate, steps[-1]["memory"] / 2**20, sum(l["gather_wait"] for l in steps))
    name = path.name.rsplit(".", 2)[0]
    best[name] = max(best.get(name, entry), entry)
first = next(iter(best.values()))[0]
print(f"{'':32} tokens/s   ratio   peak MiB   waited s")
for name, (rate, peak, wait) in best.items():
    print(f"{name:32} {rate:8.1f} {rate / first:7.2f} {peak:10.0f} {wait:10.2f}")
PY
