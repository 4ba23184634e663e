#!/usr/bin/env bash
# Stands for a program that first_minutes.sh runs, under that program's name, in the tests of the
# script. FAKE_FAULTS: empty, or `some` or `hang`, for what goes wrong.
faults=${FAKE_FAULTS:-}

# One GPU.
nvidia-smi() { echo "Simulated, 1.0, 4096 MiB"; }

# Clean, but where it cannot be run. With faults an error, beside words about another matter, and
# checks that were ended for their time.
compute-sanitizer() {
  case "$faults:$2" in
    :racecheck)
      echo "========= Error: this check is not supported on this device"
      return 1
      ;;
    some:memcheck)
      echo "========= Warning: unified memory is not supported"
      echo "========= ERROR SUMMARY: 1 error"
      return 9
      ;;
    some:initcheck) return 124 ;;
    some:synccheck) return 137 ;;
  esac
  printf '[       OK ] CudaAdd.Adds (0 ms)\n========= ERROR SUMMARY: 0 errors\n'
}

# Refuses a metric that not every GPU has; then runs the program behind its options.
ncu() {
  if [[ "$*" == *pipe_tensor* ]]; then
    echo "==ERROR== Failed to find metric sm__inst_executed_pipe_tensor" >&2
    return 1
  fi
  while [ "$1" != -c ]; do shift; done
  shift 2
  "$@" >/dev/null || return
  printf '"ID","Kernel Name"\n"0","norm_forward"\n'
}

# Tests that pass; with faults some fail, end the process or run past their time, alone or beside
# others.
cuda_tests() {
  local tests test
  if [ "$1" = --gtest_list_tests ]; then
    printf '%s\n' CudaAdd. '  Adds' '  Breaks' '  Comes' CudaRows. '  Fails' '  Shares' \
      CudaScale. '  Hangs' '  Waits' TrainOnGpu. '  Float32EqualsTheCpu'
    return
  fi
  IFS=: read -ra tests <<<"${1#*=}"
  for test in "${tests[@]}"; do
    echo "[ RUN      ] $test"
    case "$faults:$test:${#tests[@]}" in
      some:*.Breaks:*) kill -SEGV $$ ;;
      some:*.Hangs:*) return 124 ;;
      some:*.Fails:* | some:*.Shares:2)
        printf 'of %s: 1, not 2\n[  FAILED  ] %s (0 ms)\n' "$test" "$test"
        ;;
      *) echo "[       OK ] $test (0 ms)" ;;
    esac
  done
}

ranks_write_model() { :; }

# The run `bfloat16` fails, or `float32` is ended for its time; the others leave the same.
tessera() {
  local word folder=""
  for word in "$@"; do [[ $word != output_dir=* ]] || folder=${word#*=}; done
  case "$faults:${folder##*/}" in
    *:) return ;;
    some:bfloat16) echo "it is to fail" >&2 && return 1 ;;
    hang:float32) return 124 ;;
  esac
  mkdir -p "$folder"
  echo adapter >"$folder/adapter_model.safetensors"
  echo '{"step":1,"loss":1.5,"grad_norm":2.25}' >"$folder/metrics.jsonl"
}

# As many layers as fit are recomputed; others as their keys say. With `hang` some layers are kept.
bench_gpu() {
  local file=/dev/null layers=2 activations=kept of=""
  while [ $# -gt 0 ]; do
    case $1 in
      --json) file=$2 ;;
      fit) layers=4 activations=recomputed of=" in groups of 7" ;;
      gradient_checkpointing=true) activations=recomputed ;;
      gradient_checkpointing_layers=*) of=" in groups of ${1#*=}" ;;
    esac
    shift
  done
  [ "$faults:$layers" != hang:4 ] || activations="of 3 layers recomputed, of 1 kept" of=""
  printf '{"layers":%d,"activations":"%s","seconds_per_step":%d,"memory_used":%d000}\n' \
    "$layers" "$activations$of" "$layers" "$layers" >"$file"
}

"${0##*/}" "$@"
