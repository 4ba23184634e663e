#!/usr/bin/env bash
# What first_minutes.sh says of faults, with programs that have them: seconds, and no GPU of any
# kind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'echo "faults_test.sh: line $LINENO" >&2' ERR
export FIRST_MINUTES_TINY=1 TMPDIR=$work PATH=$work/tools:$PATH
mkdir -p "$work/tools" "$work/bundle/tests"
for program in nvidia-smi compute-sanitizer; do
  ln -s "$here/fake_program.sh" "$work/tools/$program"
done
for program in cuda_tests ranks_write_model bench_gpu; do
  ln -s "$here/fake_program.sh" "$work/bundle/tests/$program"
done
ln -s "$here/fake_program.sh" "$work/bundle/tessera"
echo 0123456789ab >"$work/bundle/COMMIT"

# ends CODE ARGUMENT...: runs first_minutes.sh, which has to end with the code.
ends() {
  local code=0 expected=$1
  shift
  "$here/first_minutes.sh" "$@" >"$work/log" 2>&1 || code=$?
  [ $code = "$expected" ] ||
    { printf 'faults_test.sh: expected exit code %s, got %s:\n' "$expected" $code && cat "$work/log"
      exit 1; } >&2
}

ends 2 "$work/none" "$work"
ends 2 "$work/none" "$work/nowhere"
FIRST_MINUTES_STEPS="1 9" ends 2 "$work/none" "$work/bundle"
[ ! -e "$work/none" ]

FAKE_FAULTS=some FIRST_MINUTES_STEPS="2 3 4 6" ends 1 "$work/some" "$work/bundle"
FAKE_FAULTS=hang FIRST_MINUTES_STEPS="3 6" FIRST_MINUTES_LOGS=$work/elsewhere \
  ends 1 "$work/hang" "$work/bundle"
FIRST_MINUTES_STEPS=4 FIRST_MINUTES_LOGS=$work/elsewhere ends 0 "$work/hang" "$work/bundle"
[ ! -e "$work/hang/logs" ] && [ -s "$work/elsewhere/metrics_bfloat16.jsonl" ]
python3 - "$work" <<'PY'
import json
import sys

def records(folder):
    with open(f"{sys.argv[1]}/{folder}/results.jsonl") as file:
        lines = [json.loads(line) for line in file]
    return {line["name"]: line for line in lines}

def equal(found, expected):
    assert found == expected, f"expected {expected}, got {found}"

some = records("some")
equal(some["begin"]["values"]["commit"], "0123456789ab")
equal({key: some["operators"]["values"][key] for key in ("passed", "failed", "skipped")},
      {"passed": 4, "failed": 3, "skipped": 0})
says = {row["test"]: row["says"] for row in some["operators"]["values"]["failures"]}
broken = says.pop("CudaAdd.Breaks")
assert broken.startswith("ended the process: ") and broken.endswith("exit code 139"), broken
equal(says, {
    "CudaAdd.Comes": "passes alone: something before it broke the device or the process",
    "CudaRows.Fails": "of CudaRows.Fails: 1, not 2",
    "CudaRows.Shares": "passes alone: before, it said: of CudaRows.Shares: 1, not 2",
    "CudaScale.Hangs": "ran past its time",
    "CudaScale.Waits": "passes alone: its process ran past its time"})

equal(some["float32 twice"]["rc"], 0)
equal(some["bfloat16 twice"]["values"]["says"], "A run failed: it is to fail")
for name in ("recomputed activations", "offloaded activations", "resumed after step 4",
             "paged optimizer"):
    equal(some[name]["values"]["says"], "There is no run bfloat16 to compare with.")
equal(some["float32 against this_cpu"]["values"],
      {"loss": 0, "grad_norm": 0, "tolerance": 1e-5, "losses": [1.5], "grad_norms": [2.25]})
equal(some["bfloat16 against this_cpu"]["rc"], 1)
equal(some["bfloat16 against this_cpu"]["values"]["losses"], [])

equal([some[name]["rc"] for name in ("memcheck", "racecheck", "initcheck", "synccheck")],
      [9, 0, 124, 137])
with open(f"{sys.argv[1]}/some/results.md") as file:
    equal(file.read().count("check: **ran past its time**"), 2)
equal(some["memcheck"]["values"]["summary"], "========= ERROR SUMMARY: 1 error")
equal(some["a layer of tiny"]["values"], {"seconds": 1, "bytes": 1000})

hang = records("hang")
equal([hang["float32 twice"]["rc"], hang["bfloat16 twice"]["rc"]], [124, 0])
assert hang["other trainings"]["skipped"]
assert "resumed after step 4" not in hang
equal(hang["a layer of tiny"]["skipped"],
      "activations are of 3 layers recomputed, of 1 kept in one run, kept in the other")
equal(hang["racecheck"]["rc"], None)
assert "not supported" in hang["racecheck"]["skipped"]
with open(f"{sys.argv[1]}/hang/results.md") as file:
    assert file.read().endswith("\n\nnothing was measured\n\n")
PY

# Logs of processes that were stopped with all others, and of none.
# shellcheck source=/dev/null
. "$here/device_tests.sh"
mkdir -p "$work/tests/together"
echo CudaAdd.Adds >"$work/tests/filters"
for log in "[ RUN      ] CudaAdd.Adds" ""; do
  echo "$log" >"$work/tests/together/$(log_of CudaAdd.Adds)"
  [[ $(why_again CudaAdd.Adds "$work/tests") == "the time for all was over"* ]]
  [[ $(first_words "$work/tests/together/$(log_of CudaAdd.Adds)" CudaAdd.Adds) == "did not end"* ]]
done
[[ $(first_words "$work/none" CudaAdd.Adds) == "did not end before the time for all was over" ]]
