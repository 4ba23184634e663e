#!/usr/bin/env bash
# Installs, builds, tests. `--all` adds the sanitizer build, the golden run of a real model, and the
# long tests of many processes.
# Ends with why tests were skipped and one line `N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "$0")/.."

all=0
[ "${1:-}" = "--all" ] && all=1

# build PRESET FOLDER
build() {
  cmake --preset "$1" >/dev/null
  cmake --build "$2"
}

# check FOLDER [OPTION ...]: runs the tests of a build and reports on them; fails when one fails.
check() {
  local status=0 junit="$1/tests.xml"
  ctest --test-dir "$1" --output-on-failure --no-tests=error -j"$(nproc)" \
    --output-junit "$PWD/$junit" "${@:2}" || status=$?
  # googletest prints the reason on the line after "Skipped".
  awk '/: Skipped$/ { getline; print "skipped: " $0 }' "$1/Testing/Temporary/LastTest.log" |
    sort | uniq -c
  awk -v RS='>' '/<testsuite/ {
    for (i = 1; i <= NF; ++i)
      if (split($i, part, "\"") > 1) count[part[1]] = part[2]
    failed = count["failures="]; skipped = count["skipped="] + count["disabled="]
    printf "%d passed, %d failed, %d skipped\n", count["tests="] - failed - skipped, failed, skipped
    exit
  }' "$junit"
  return $status
}

launch/setup.sh
if [ "$all" = 1 ]; then
  build asan build-asan
  check build-asan
  if launch/get_smollm2.sh build/smollm2; then
    export TESSERA_SMOLLM2_DIR=$PWD/build/smollm2
  fi
fi
build release build
long=()
[ "$all" = 0 ] || long=(-C all)
check build "${long[@]}"
