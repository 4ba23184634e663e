#!/usr/bin/env bash
# first_minutes.sh from end to end on the simulated GPU, with tiny shapes; then killed at a random
# moment: what it had written by then is whole.  Usage: dry_run_test.sh BUILD_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
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
# run begins with, otherwise all.
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
    return [(line["step"], line["name"]) for line in lines]

def sections(folder):
    with open(f"{folder}/results.md") as file:
        text = file.read()
    assert not text or text.endswith("\n\n"), "half a section"
    assert text.count("```") % 2 == 0, "half a block"
    for row in (line for line in text.splitlines() if line.startswith("|")):
        assert row.endswith("|"), row
    return [line for line in text.splitlines() if line.startswith("## ")]

found, told = steps(sys.argv[1]), sections(sys.argv[1])
assert 0 <= len(found) - len(told) <= (len(sys.argv) > 2), (found, told)
for (number, name), line in zip(found, told):
    assert line.startswith(f"## {number}. {name}: "), line
if len(sys.argv) > 2:
    assert found == steps(sys.argv[2])[:len(found)], found
    print(f"killed after {len(found)} of {len(steps(sys.argv[2]))} records")
else:
    assert {number for number, _ in found} == set(range(10)), found
PY
}

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
