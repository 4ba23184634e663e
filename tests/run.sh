#!/usr/bin/env bash
# Installs, builds, tests. `--cuda` adds the CUDA backend, where the toolkit is installed: run on a
# simulated machine, and compiled by nvcc. `--all` adds that, the sanitizer builds, a few seconds of
# fuzzing, the golden run of a real model, and the long tests of many processes and planted bugs: a
# sample of each, chosen by TESSERA_SEED, which is drawn where it is not set; `--whole` leaves none
# out. Where there is a GPU, or TESSERA_REQUIRE_CUDA=1 says that there must be one, the backend's
# tests run on it, too.
# Ends with the minutes of each part, why tests were skipped, and one line
# `N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "$0")/.."

all=0 cuda=0
case "${1:-}" in
  --whole) all=1 cuda=1 && export TESSERA_WHOLE=1 ;;
  --all) all=1 cuda=1 ;;
  --cuda) cuda=1 ;;
  "") ;;
  *) echo "run.sh: expected --cuda, --all or --whole, got '$1'" >&2 && exit 2 ;;
esac

name="" begun=0 times="" summary=""
# part NAME: what follows is one part, whose time is shown in the end.
part() {
  end_part
  name=$1 begun=$SECONDS
  echo "== $name"
}
end_part() {
  local took=$((SECONDS - begun))
  [ -z "$name" ] || times+=$(printf '%4d:%02d  %s' $((took / 60)) $((took % 60)) "$name")$'\n'
}
finish() {
  local status=$?
  end_part
  printf '\nminutes  part\n%s%4d:%02d  all\n' "$times" $((SECONDS / 60)) $((SECONDS % 60))
  [ $status = 0 ] || echo "failed: $name"
  [ -z "$summary" ] || echo "$summary"
}
trap finish EXIT

# build PRESET FOLDER [TARGET ...]
build() {
  part "$2: build"
  summary=""
  cmake --preset "$1" -B "$2" >/dev/null
  cmake --build "$2" --target "${@:3}"
}

# check FOLDER [OPTION ...]: runs the tests of a build and reports on them; fails when one fails.
check() {
  local status=0 junit="$1/tests.xml"
  ctest --test-dir "$1" --output-on-failure --no-tests=error -j"$(nproc)" \
    --output-junit "$PWD/$junit" "${@:2}" || status=$?
  # googletest prints the reason on the line after "Skipped".
  summary=$(
    awk '/: Skipped$/ { getline; print "skipped: " $0 }' "$1/Testing/Temporary/LastTest.log" |
      sort | uniq -c
    awk -v RS='>' '/<testsuite/ {
      for (i = 1; i <= NF; ++i)
        if (split($i, part, "\"") > 1) count[part[1]] = part[2]
      failed = count["failures="]; skipped = count["skipped="] + count["disabled="]
      passed = count["tests="] - failed - skipped
      printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
      exit
    }' "$junit"
  )
  echo "$summary"
  return $status
}

part setup
fuzzer=(clang libclang-rt-14-dev)
[ "$all" = 1 ] || fuzzer=()
launch/setup.sh "${fuzzer[@]}"
toolkit=${CUDA_HOME:-/usr/local/cuda}
simulated=""
if [ "$cuda" = 1 ] && [ -e "$toolkit/include/cuda_runtime.h" ]; then
  simulated=cuda-on-cpu
elif [ "$cuda" = 1 ]; then
  echo "skipped: the CUDA backend on the CPU: there is no $toolkit/include/cuda_runtime.h"
fi
on_gpu='^(cuda|parallel\.mpi\.nccl)|/Devices' # tests of the backend

if [ "$all" = 1 ]; then
  part "pyarrow" # brings the library that reads Parquet files; without it their tests are skipped
  if python3 -m venv build/pyarrow && build/pyarrow/bin/pip install --quiet --retries 1 \
    --disable-pip-version-check --no-deps --only-binary :all: pyarrow==26.0.1; then
    export VIRTUAL_ENV=$PWD/build/pyarrow # where cmake looks for it
  else
    echo "skipped: Parquet: pip cannot install pyarrow"
  fi
  export TESSERA_SEED=${TESSERA_SEED:-$RANDOM}
  echo "seed $TESSERA_SEED: TESSERA_SEED=$TESSERA_SEED chooses the same samples again"
  # With the backend where it can be simulated; the other tests are for a machine without a GPU.
  tsan=${simulated:+$simulated-}tsan asan=${simulated:+$simulated-}asan
  # Without OpenMP, of whose barriers TSan knows nothing. GTest's test names are all that is run.
  build "$tsan" "build-$tsan" parallel_tests lora_tests optim_tests launch_tests \
    ${simulated:+cuda_tests cuda_on_cpu_tests}
  part "build-$tsan: tests"
  CUDA_ON_CPU_DEVICES=0 check "build-$tsan" -E '^cuda' -R \
    '(Communicators|ShardedStore|LayerScheduler|ShardedDecoder|PagedAdamW|launch.(Ranks|Rows))\.'
  if [ -n "$simulated" ]; then
    # Of the runs that train, two; each takes a minute, and the operators are tested alone.
    check "build-$tsan" -R '^cuda' -E \
      'OnGpu\.([^FR]|Float16)|Blockwise4|Decode|MovesOdd|Gemm\.IsRight'
  fi
  build "$asan" "build-$asan" all
  part "build-$asan: tests"
  # Three judge by time limits.
  CUDA_ON_CPU_DEVICES=0 check "build-$asan" -E "$on_gpu"'|^ranks\.(signals|faults|full_disk)$'
  [ -z "$simulated" ] || check "build-$asan" -R "$on_gpu"
  build fuzz build-fuzz jinja_fuzz tokenizer_fuzz sentencepiece_fuzz rows_fuzz hub_fuzz \
    gguf_fuzz gguf_out_fuzz
  part "build-fuzz: 15 seconds each"
  tests/fuzz/run.sh build-fuzz 15
  part "download of SmolLM2"
  if launch/get_smollm2.sh build/smollm2; then
    export TESSERA_SMOLLM2_DIR=$PWD/build/smollm2
  fi
  export TESSERA_ALL=1
fi
# Files have names relative to this folder from here on, so that ccache knows them in the copy of
# tests/extending, too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
if [ -n "$simulated" ]; then
  build "$simulated" "build-$simulated" cuda_tests cuda_on_cpu_tests tessera bench_gpu \
    ranks_write_model parallel_communicator_mpi
  part "build-$simulated: tests"
  except='^$'
  orders=("ascending eager" "descending late" "random:$RANDOM random:$RANDOM")
  [ -n "${TESSERA_WHOLE:-}" ] || unset "orders[$((${TESSERA_SEED:-$RANDOM} % 2))]"
  for how in "${orders[@]}"; do
    read -r CUDA_ON_CPU_ORDER CUDA_ON_CPU_STREAMS <<<"$how"
    export CUDA_ON_CPU_ORDER CUDA_ON_CPU_STREAMS
    echo "CUDA on the CPU: threads and blocks $CUDA_ON_CPU_ORDER, streams $CUDA_ON_CPU_STREAMS"
    check "build-$simulated" -R "$on_gpu" -E "$except"
    # A minute, once; and tests that set the orders themselves.
    except='EightStepsEqualTheCpu|^cuda_on_cpu'
  done
  unset CUDA_ON_CPU_ORDER CUDA_ON_CPU_STREAMS
  part "build-$simulated: planted bugs"
  check "build-$simulated" -C all -R '^cuda_on_cpu\.finds_planted_bugs$'
  part "build-$simulated: jobs of many processes"
  check "build-$simulated" -C all -R '^ranks\.(matrix_all|kill_and_resume)$'
  part "build-$simulated: the first minutes on a GPU"
  check "build-$simulated" -C all -R '^gpu\.dry_run$'
fi
if [ "$cuda" = 1 ]; then
  if command -v nvcc >/dev/null || [ -x "$toolkit/bin/nvcc" ]; then
    # Of one architecture; the table of kernels is compiled for all of them, with the same options.
    part "bundle for a GPU, by nvcc"
    launch/bundle.sh --cuda 90 --tests
    build/bundle/tessera doctor  # starts, whether or not there is a driver
    part "nvcc: table of kernels"
    tests/cuda/kernel_table.py >/dev/null  # fails on spills, local memory, calls and traps
  else
    echo "skipped: the CUDA backend by nvcc: there is none"
  fi
fi
if [ "${TESSERA_REQUIRE_CUDA:-0}" = 1 ] ||
  { command -v nvidia-smi && nvidia-smi -L; } >/dev/null; then
  build cuda build-cuda cuda_tests
  part "build-cuda: tests"
  check build-cuda -R '^cuda\.'
fi
build release build all
part "build: tests"
long=()
[ "$all" = 0 ] || long=(-C all -E '^ranks\.signals$') # which signals_all begins with
check build "${long[@]}"
if [ "$all" = 1 ]; then
  part "bundle"
  launch/bundle.sh
  tests/bundle/symbols.sh build/bundle planted
  build/bundle/tessera doctor
fi
