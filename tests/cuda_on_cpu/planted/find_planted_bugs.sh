#!/usr/bin/env bash
# Builds the program with each bug of table.cmake, one at a time, and says of each whether the tests
# named there find it; without it they must pass.
# Usage: find_planted_bugs.sh BUILD_FOLDER [BUG ...]: those named; else, with TESSERA_WHOLE, all of
# them; else twelve, chosen by TESSERA_SEED.
set -euo pipefail
build=$(realpath "$1")
shift
list=$build/tests/cuda_on_cpu/planted/list
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

seed=${TESSERA_SEED:-$RANDOM}
if [ $# = 0 ] && [ -n "${TESSERA_WHOLE:-}" ]; then
  set -- $(cut -d' ' -f1 "$list")
elif [ $# = 0 ]; then
  echo "seed $seed: TESSERA_SEED=$seed repeats it"
  set -- $(awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand(), $1 }' "$list" | sort -n |
    head -n 12 | cut -d' ' -f2)
fi
cmake --build "$build" --target "${@/#/planted_}" cuda_tests >"$work/build" ||
  { cat "$work/build"; exit 1; }

# run PROGRAM TESTS THREADS STREAMS: what it says is then in $work/out.
run() {
  (
    export CUDA_ON_CPU_ORDER=$3 CUDA_ON_CPU_STREAMS=$4 OMP_WAIT_POLICY=passive
    timeout 120 "$1" --gtest_filter="$2"
    exit $?  # of this shell, so that it and not the outer one says how the program died
  ) >"$work/out" 2>&1
}

missed=0
declare -A sound
while read -r bug tests threads streams; do
  [[ " $* " == *" $bug "* ]] || continue
  how="$tests $threads $streams"
  if [ -z "${sound[$how]:-}" ]; then
    sound[$how]=yes
    if ! run "$build/tests/cuda_tests" "$tests" "$threads" "$streams" ||
      grep -q ' 0 tests ran' "$work/out"; then
      echo "FAILS    without a bug: $how"
      tail -n 20 "$work/out"
      sound[$how]=no
    fi
  fi
  status=0
  run "$build/tests/cuda_on_cpu/planted/planted_$bug" "$tests" "$threads" "$streams" || status=$?
  verdict=found
  # A test that hangs says nothing about why, and a program that does not start nothing at all.
  if [ $status = 0 ] || [ $status = 124 ] || [ "${sound[$how]}" = no ] ||
    ! grep -q '^\[ RUN' "$work/out"; then
    verdict=MISSED
    missed=$((missed + 1))
  fi
  printf '%-8s %-42s by %s, threads %s, streams %s\n' \
    "$verdict" "$bug" "$tests" "$threads" "$streams"
done <"$list"
if [ $missed != 0 ]; then
  echo "$missed planted bugs were missed"
  exit 1
fi
