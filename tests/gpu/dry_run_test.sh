#!/usr/bin/env bash
# What first_minutes.sh says of faults (faults_test.sh). Then the script from end to end on the
# simulated GPU, with tiny shapes, and killed at a random moment: what it had written by then is
# whole.  Usage: dry_run_test.sh BUILD_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/faults_test.sh"
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export FIRST_MINUTES_TINY=1 TMPDIR=$work CUDA_ON_CPU_DEVICES=${CUDA_ON_CPU_DEVICES:-2}
seed=${TESSERA_SEED:-$RANDOM}
echo "seed $seed: TESSERA_SEED=$seed repeats it"

die() {
  printf 'dry_run_test.sh: %s\n' "$*" >&2
  tail -n 40 "$work"/*.log >&2
  exit 1
}

# whole OUT [WHOLE_OUT]: every line of the JSON parses, no row or section of the Markdown is cut,
# and both tell of the same steps, but for one at most. With WHOLE_OUT they are those that a whole
# run begins with, otherwise all, and of each step something was done, but where PyTorch is needed.
whole() {
  python3 - "$@" <<'PY'
import json
import sys

def steps(folder):
    with open(f"{folder}/results.jsonl") as file:
        text = file.read()
    assert not text or text.endswith("\n"), "half a line of JSON"
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert isinstance(line["values"], dict) and line["seconds"] >= 0, line
        assert line["rc"] == 0 or line["rc"] is None and line["skipped"], line
    return ([(line["step"], line["name"]) for line in lines],
            {line["step"] for line in lines if line["rc"] == 0}, lines)

def sections(folder):
    with open(f"{folder}/results.md") as file:
        text = file.read()
    assert not text or text.endswith("\n\n"), "half a section"
    assert text.count("```") % 2 == 0, "half a block"
    for row in (line for line in text.splitlines() if line.startswith("|")):
        assert row.endswith("|"), row
    return [line for line in text.splitlines() if line.startswith("## ")]

(found, ran, lines), told = steps(sys.argv[1]), sections(sys.argv[1])
assert 0 <= len(found) - len(told) <= (len(sys.argv) > 2), (found, told)
for (number, name), line in zip(found, told):
    assert line.startswith(f"## {number}. {name}: "), line
if len(sys.argv) > 2:
    all_steps = steps(sys.argv[2])[0]
    assert found == all_steps[:len(found)], found
    print(f"killed after {len(found)} of {len(all_steps)} records")
else:
    assert {number for number, _ in found} == set(range(10)), found
    assert ran >= {0, 1, 2, 3, 4, 5, 6, 7, 9}, ran
    names = {line["name"] for line in lines if line["rc"] == 0}
    needed = {"nvidia-smi", "memcheck", "a layer of tiny", "ncu", "float32 against cpu_float32",
              "float32 against this_cpu"}
    assert names >= needed, needed - names
PY
}

# The programs of a machine with a GPU, and numbers to compare with.
mkdir "$work/tools"
for program in nvidia-smi compute-sanitizer ncu; do
  ln -s "$here/fake_program.sh" "$work/tools/$program"
done
export PATH=$work/tools:$PATH FIRST_MINUTES_REFERENCE=$work/reference.json
{ "$here/random_smollm2.sh" "$build/tests/ranks_write_model" "$work/model" tiny &&
  "$build/tessera" train "$work/model/run.yml" device=cpu output_dir="$work/cpu"; } \
  >"$work/cpu.log" 2>&1 || die "the run on the CPU failed"
python3 - "$work" <<'PY'
import json
import sys

with open(f"{sys.argv[1]}/cpu/metrics.jsonl") as file:
    steps = [json.loads(line) for line in file]
with open(f"{sys.argv[1]}/reference.json", "w") as file:
    json.dump({"float64": [], "cpu_float32": [{key: step[key] for key in ("loss", "grad_norm")}
                                              for step in steps]}, file, indent=1)
PY

begin=$(date +%s%3N)
"$here/first_minutes.sh" "$work/all" "$build" >"$work/all.log" 2>&1 || die "exit code $?"
took=$(($(date +%s%3N) - begin))
echo "a whole run takes $took ms"
whole "$work/all" || die "its results are not whole"

# In a session of its own, so that all that it runs is killed with it.
setsid "$here/first_minutes.sh" "$work/killed" "$build" >"$work/killed.log" 2>&1 &
session=$!
sleep "$(awk -v seed="$seed" -v ms="$took" 'BEGIN { srand(seed); print rand() * ms / 1000 }')"
pkill -KILL -s $session || true
wait $session 2>/dev/null || true
mkdir -p "$work/killed"
touch "$work/killed/results.jsonl" "$work/killed/results.md"
whole "$work/killed" "$work/all" || die "what it left is not whole"
