#!/usr/bin/env bash
# The first minutes on a machine with a GPU: is it right, how fast is it, and where is the plan
# wrong? The steps come in order of worth, and each is kept as soon as it ends, in OUT/results.jsonl
# and OUT/results.md (a run adds to what is there); OUT/logs has what the programs printed.
#
#   tests/first_minutes.sh OUT                   from an unpacked bundle (launch/bundle.sh --tests)
#   tests/gpu/first_minutes.sh OUT [FOLDER]      from a build; FOLDER: build-cuda
#
#   1 the machine          2 every operator against the CPU   3 training, to the bit
#   4 compute-sanitizer    5 8B beside the plan               6 70B: what fits, and a layer
#   7 operators alone      8 the Hugging Face stack
#
# FIRST_MINUTES_SECONDS (540) is the time for all; a step that takes longer than what is left is
# skipped. FIRST_MINUTES_STEPS ("1 2 3 4 5 6 7 8") chooses the steps. FIRST_MINUTES_LOGS (OUT/logs)
# is the folder for the programs' output. FIRST_MINUTES_TINY=1 takes tiny shapes and few tests, for
# the simulated GPU; FIRST_MINUTES_REFERENCE then names a file like random_smollm2.json. Needs bash,
# coreutils, findutils, diffutils, awk, sed and grep; nvidia-smi, compute-sanitizer, ncu and PyTorch
# are used where they are. Exit code 1: a step failed.
set -uo pipefail # no -e: whatever goes wrong in a step, the next ones follow
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
chosen=${FIRST_MINUTES_STEPS:-1 2 3 4 5 6 7 8}
if [ $# -lt 1 ] || [ $# -gt 2 ] || ! [[ $chosen =~ ^[1-8](\ [1-8])*$ ]]; then
  sed -n '2,/^set/p' "$0" | sed 's/^# \{0,1\}//;/^set/d' >&2
  exit 2
fi
budget=${FIRST_MINUTES_SECONDS:-540} tiny=${FIRST_MINUTES_TINY:-}
root=$here/../../build-cuda
[ ! -x "$here/../tessera" ] || root=$here/..
root=$(cd "${2:-$root}" && pwd) || exit 2
[ -x "$root/tessera" ] || {
  echo "first_minutes.sh: $root has no tessera; give a build's or an unpacked bundle's folder" >&2
  exit 2
}
logs=${FIRST_MINUTES_LOGS:-$1/logs}
mkdir -p "$1" "$logs"
out=$(cd "$1" && pwd) logs=$(cd "$logs" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

. "$here/results.sh"
. "$here/device_tests.sh"
. "$here/train_steps.sh"
. "$here/speed_steps.sh"

# program NAME: where it is, in a bundle or a build.
program() {
  local path
  for path in "$root/tests/$1" "$root/$1"; do
    if [ -x "$path" ] && [ ! -d "$path" ]; then
      echo "$path"
      return
    fi
  done
}

# tool NAME: a program of the CUDA toolkit.
tool() { command -v "$1" || ls "${CUDA_HOME:-/usr/local/cuda}/bin/$1" 2>/dev/null; }

# have NUMBER NAME PROGRAM: whether the program is there; skips the step otherwise.
have() {
  [ -z "$3" ] || return 0
  skip "$1" "$2" "$root does not have the program for it"
  return 1
}

machine() {
  local code=0 what=name,driver_version,memory.total,memory.used,compute_mode,ecc.mode.current
  what+=,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,power.limit,temperature.gpu
  if command -v nvidia-smi >/dev/null; then
    limited 30 nvidia_smi_q nvidia-smi -q || true
    limited 30 nvidia_smi nvidia-smi --query-gpu=$what --format=csv,noheader || code=$?
    record 1 nvidia-smi $code "{\"columns\":$(json_text $what),\"gpus\":$(json_lines \
      <"$logs/nvidia_smi.out")}" < <(echo "$what" && echo && sed 's/^/- /' "$logs/nvidia_smi.out" &&
      echo)
  else
    skip 1 nvidia-smi "it is not installed"
  fi
  have 1 doctor "$tessera" || return 0
  code=0
  limited 60 doctor "$tessera" doctor || code=$?
  record 1 doctor $code "{\"report\":$(json_lines <"$logs/doctor.out")}" \
    < <(echo '```' && cat "$logs/doctor.out" && printf '```\n\n')
}

operators() {
  local pattern=.
  [ -z "$tiny" ] || pattern='^(CudaAdd|CudaScale|CudaRows|CudaUploads)\.'
  have 2 operators "$cuda_tests" && fits 2 operators 30 || return 0
  device_tests 2 operators 90 "$pattern" suite '^Train(SmolLm2)?OnGpu\.'
}

trained() {
  local pattern='^Train(SmolLm2)?OnGpu\.'
  [ -z "$tiny" ] || pattern='^TrainOnGpu\.Float32EqualsTheCpu$'
  if have 3 training "${tessera:+$write_model}" && fits 3 training 30; then training; fi
  have 3 "training tests" "$cuda_tests" && fits 3 "training tests" 30 || return 0
  TESSERA_ALL=1 device_tests 3 "training tests" 90 "$pattern" test
}

# A few tests of each kernel file: the checks take many times as long.
small='CudaAdd.*:CudaScale.*:CudaRows.*:CudaEmbedding.*:CudaGlu.*:CudaRmsnorm.*:Types/CudaRope.*'
small+=':CudaColumns.*:CudaSoftcap.*:CudaDropout.*:CudaUploads.*:DeviceGradNorm.*'
small+=':CudaCrossEntropy.*'
small+=':DeviceAdamW.UpdatesOf8*:DeviceBlockwise4.DecodesAnyPart:DeviceBlockwise4.AgreesOn*'
small+=':All/CudaAttentionOfType.HugeLogits*:All/CudaAttentionOfType.Decode*'

sanitized() {
  local sanitizer checks=(memcheck racecheck initcheck synccheck) check at=0 results
  sanitizer=$(tool compute-sanitizer) || {
    skip 4 compute-sanitizer "it is not installed"
    return
  }
  have 4 compute-sanitizer "$cuda_tests" && fits 4 compute-sanitizer 40 || return 0
  for check in "${checks[@]}"; do
    start 60 "$check" "$sanitizer" --tool "$check" --error-exitcode 9 "$cuda_tests" \
      --gtest_filter="$small"
  done
  finish
  results=("${codes[@]}")
  for check in "${checks[@]}"; do tell_check "$check" "${results[at++]}"; done
}

# tell_check CHECK CODE
tell_check() {
  local summary says=$scratch/$1
  cat "$logs/$1.out" "$logs/$1.err" | grep '^=========' >"$says" || true
  summary=$(grep SUMMARY "$says" | tail -n 1)
  if [ -z "$summary" ] && { [[ $2 != @(124|137) ]] || grep -qi 'not supported' "$says"; }; then
    skip 4 "$1" "$(tail -qn 3 "$says" "$logs/$1.err" | tr '\n' ' ')"
    return
  fi
  record 4 "$1" "$2" "{\"tests\":$(grep -c '^\[       OK' "$logs/$1.out"),\"summary\":\
$(json_text "$summary"),\"says\":$(head -n 40 "$says" | json_lines)}" \
    < <(printf '%s\n\n```\n' "${summary#========= }" && head -n 40 "$says" && printf '```\n\n')
}

# ending: where reality and the plan differ, and what failed.
ending() {
  local line text="" none="nowhere, as far as was measured"
  compgen -G "$scratch/bench_*.json" >/dev/null || none="nothing was measured"
  touch "$scratch/differs"
  step_begun=$begun
  while read -r line; do text+="- ${line#differs: }"$'\n'; done <"$scratch/differs"
  echo
  echo "Where reality and the plan differ by more than 15 %:"
  [ -n "$text" ] || text=$none$'\n'
  echo "$text"
  [ ${#failed[@]} = 0 ] || printf 'failed: %s\n' "${failed[@]}"
  record 9 "where reality and the plan differ by more than 15 %" 0 "{\"differs\":$(json_lines \
    <"$scratch/differs"),\"failed\":$(printf '%s\n' "${failed[@]}" | grep . | json_lines)}" \
    <<<"$text"
}

published_shape() {
  have 5 "$shape" "$bench_gpu" || return 0
  of_length "${lengths[0]}" 4 25
  of_length "${lengths[1]}" 4 20
  of_length "${lengths[2]}" 1 30
}

operators_alone() {
  have 7 "operators alone" "$bench_gpu" || return 0
  kernels
  profiled
}

tessera=$(program tessera) cuda_tests=$(program cuda_tests) bench_gpu=$(program bench_gpu)
write_model=$(program ranks_write_model)
commit=$(cat "$root/COMMIT" 2>/dev/null ||
  git -C "$here" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
record 0 begin 0 "{\"date\":\"$(date -u +%FT%TZ)\",\"host\":$(json_text "$HOSTNAME"),\
\"commit\":$(json_text "$commit"),\"command\":$(json_text "$0 $*"),\"steps\":$(json_text \
  "$chosen"),\"seconds\":$budget}" <<<"$(date -u), commit $commit, $0 $*, on $HOSTNAME"$'\n'
steps=([1]=machine [2]=operators [3]=trained [4]=sanitized [5]=published_shape [6]=large_shape
  [7]=operators_alone [8]=peers)
for number in $chosen; do "${steps[number]}"; done
ending
[ ${#failed[@]} = 0 ]
