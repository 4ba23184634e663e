#!/usr/bin/env bash
# Installs, builds, tests. `--all` adds the sanitizer builds and the long matrices.
# The last lines are ctest's summary over everything that ran; skipped tests are listed with reasons.
set -euo pipefail
cd "$(dirname "$0")/.."

all=0
[ "${1:-}" = "--all" ] && all=1

launch/setup.sh
cmake --preset release >/dev/null
cmake --build build

if [ "$all" = 1 ]; then
  # Address and undefined-behaviour sanitizers over every test but the slow full-model ones.
  cmake --preset asan >/dev/null
  cmake --build build-asan
  ctest --test-dir build-asan --output-on-failure -j2 -LE slow
fi

TESSERA_ALL="$all" ctest --test-dir build --output-on-failure -j2 --no-tests=error
