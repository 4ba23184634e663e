#!/usr/bin/env bash
# Makes a folder for machines without root and without Tessera's packages, and packs it:
# build/bundle/ and build/tessera-bundle.tar.gz. It needs glibc 2.34 or later and libstdc++, which
# every machine has; MPI, cuBLASLt and NCCL are used where the machine has them. It reads no Parquet
# files.
#
#   launch/bundle.sh                         the program, computing on the CPU
#   launch/bundle.sh --cuda 90 100           and on GPUs of compute capability 9.0 and 10.0
#   launch/bundle.sh --cuda 90 --tests       with the GPU tests and benchmarks (tests/gpu)
set -euo pipefail
cd "$(dirname "$0")/.."

architectures=() tests=0
while [ $# -gt 0 ]; do
  case "$1" in
    --tests) tests=1 ;;
    --cuda)
      while [[ "${2:-}" =~ ^[0-9]+a?$ ]]; do
        architectures+=("$2")
        shift
      done
      [ ${#architectures[@]} -gt 0 ] ||
        { echo "bundle.sh: --cuda needs compute capabilities, such as 90" >&2; exit 2; }
      ;;
    *) echo "bundle.sh: expected --cuda ARCH... or --tests, got '$1'" >&2; exit 2 ;;
  esac
  shift
done

launch/setup.sh
folder=build-bundle out=build/bundle
options=(-DTESSERA_BUNDLE=ON -DTESSERA_MPI=ON -DTESSERA_PARQUET=OFF -DTESSERA_CUDA=OFF)
targets=(tessera)
if [ ${#architectures[@]} -gt 0 ]; then
  folder=build-bundle-cuda
  # A GPU that is later than the last one compiles its PTX.
  real=("${architectures[@]/%/-real}")
  real[-1]=${architectures[-1]}
  options+=(-DTESSERA_CUDA=ON -DTESSERA_CUDA_ARCHITECTURES="$(IFS=';' && echo "${real[*]}")")
fi
[ $tests = 0 ] || targets+=(ranks_write_model bench_gpu)
[ $tests = 0 ] || [ ${#architectures[@]} = 0 ] || targets+=(cuda_tests)
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake --preset release -B "$folder" "${options[@]}" >/dev/null
cmake --build "$folder" --target "${targets[@]}"

rm -rf "$out"
mkdir -p "$out/lib/tessera" "$out/licences"
strip -o "$out/tessera" "$folder/tessera"
strip -o "$out/lib/tessera/tessera_mpi.so" "$folder/lib/tessera/tessera_mpi.so"
highway=$(ldd "$folder/tessera" | awk '/libhwy/ { print $3 }')
cp "$highway" "$out/lib/$(basename "$highway")"
cp -r examples "$out/examples"
cp LICENSE "$out/licences/tessera"
for package in libhwy1 libfmt9 libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libpcre2-dev \
  libutf8proc-dev libxxhash-dev zlib1g-dev libzstd-dev gcc-12-base; do
  cp "/usr/share/doc/$package/copyright" "$out/licences/$package"
done
git describe --always --dirty --abbrev=12 >"$out/COMMIT" 2>/dev/null || echo unknown >"$out/COMMIT"
if [ ${#architectures[@]} -gt 0 ]; then
  # Their runtime is linked statically.
  cp "${CUDA_HOME:-/usr/local/cuda}/EULA.txt" "$out/licences/cuda" 2>/dev/null ||
    echo "NVIDIA CUDA Toolkit EULA: https://docs.nvidia.com/cuda/eula/" >"$out/licences/cuda"
fi
if [ $tests = 1 ]; then
  cp /usr/share/doc/libgtest-dev/copyright "$out/licences/libgtest-dev"
  mkdir "$out/tests"
  for program in "${targets[@]:1}"; do
    strip -o "$out/tests/$program" "$(find "$folder" -maxdepth 2 -type f -name "$program")"
  done
  cp tests/gpu/* tests/bench/gpu_peer.py tests/golden/eight_steps.yml "$out/tests/"
fi

# What the loader would not find on another machine must be seen here.
tests/bundle/symbols.sh "$out"
tar -C build -czf build/tessera-bundle.tar.gz --owner=0 --group=0 bundle
du -h build/tessera-bundle.tar.gz | awk '{ print "build/tessera-bundle.tar.gz", $1 }'
# So much may be carried to a machine, for one architecture.
bytes=$(stat -c %s build/tessera-bundle.tar.gz)
[ ${#architectures[@]} -gt 1 ] || [ "$bytes" -le $((50 << 20)) ] ||
  { echo "bundle.sh: more than 50 MiB" >&2; exit 1; }
