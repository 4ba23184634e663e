# Sourced by first_minutes.sh: trains a random model of SmolLM2's shape, in every way that must give
# the same bytes, and compares it with other machines' numbers. Needs $tessera and $write_model.
model=$scratch/model runs=$scratch/runs
train_limit=40 # seconds of one training

# begin_run NAME [KEY=VALUE ...]: in the background.
begin_run() {
  local name=$1
  shift
  start $train_limit "train_$name" "$tessera" train "$model/run.yml" device=cuda \
    output_dir="$runs/$name" "$@"
}

# metrics NAME: of each step, without what depends on the time and the memory.
metrics() {
  sed -E 's/,"(tokens_per_second|memory|gather_wait)":[^,}]*//g' "$runs/$1/metrics.jsonl"
}

# same NAME OTHER WHAT CODE...: a record of whether both runs left the same bytes; codes are theirs.
same() {
  local a=$1 b=$2 what=$3 code=0 worst says="The same bytes of adapter and metrics."
  shift 3
  worst=$(printf '%s\n' "$@" | sort -n | tail -n 1)
  if [[ $worst == @(124|137) ]]; then
    code=$worst says="A run did not end within its $train_limit s, or was killed."
  elif [ "$worst" != 0 ]; then
    code=1
    says="A run failed: $(tail -qn 1 "$logs/train_$a.err" "$logs/train_$b.err" | tr '\n' ' ')"
  elif [ ! -s "$runs/$a/adapter_model.safetensors" ]; then
    code=1 says="There is no run $a to compare with."
  elif ! cmp -s "$runs/$a/adapter_model.safetensors" "$runs/$b/adapter_model.safetensors"; then
    code=1 says="Another adapter."
  elif ! diff -q <(metrics "$a") <(metrics "$b") >/dev/null; then
    code=1 says="Other metrics: $(diff <(metrics "$a") <(metrics "$b") | head -n 4 | tr '\n' ' ')"
  fi
  record 3 "$what" $code "{\"runs\":[$(json_text "$a"),$(json_text "$b")],\"says\":\
$(json_text "$says")}" <<<"$says"$'\n'
}

# numbers KEY: of that name, one a line.
numbers() { grep -oE "\"$1\": ?[-+.0-9e]+" | sed 's/.*: *//'; }

# expected WHAT KEY: of the list WHAT of $reference.
expected() {
  tr -d ' \n' <"$reference" | grep -o "\"$1\":\[[^]]*\]" | numbers "$2"
}

# largest_difference FILE FILE: relative, of numbers line by line.
largest_difference() {
  paste "$1" "$2" | awk '
    NF != 2 { most = 1e30 }
    NF == 2 { d = ($1 - $2) / ($2 == 0 ? 1 : $2); if (d < 0) d = -d; if (d > most) most = d }
    END { printf "%.3g", NR == 0 ? 1e30 : most }'
}

# compare RUN WITH TOLERANCE: a record of how far the run's losses and norms are from those of
# $scratch/WITH.loss and $scratch/WITH.grad_norm.
compare() {
  local key loss norm code
  for key in loss grad_norm; do
    numbers $key >"$scratch/run.$key" 2>/dev/null <"$runs/$1/metrics.jsonl" || true
  done
  loss=$(largest_difference "$scratch/run.loss" "$scratch/$2.loss")
  norm=$(largest_difference "$scratch/run.grad_norm" "$scratch/$2.grad_norm")
  code=$(awk -v l="$loss" -v n="$norm" -v t="$3" 'BEGIN { print (l > t || n > t) ? 1 : 0 }')
  record 3 "$1 against $2" "$code" "{\"loss\":$loss,\"grad_norm\":$norm,\"tolerance\":$3,\
\"losses\":$(json_numbers "$scratch/run.loss"),\"grad_norms\":$(json_numbers \
    "$scratch/run.grad_norm")}" \
    <<<"Largest relative difference: loss $loss, gradient norm $norm; at most $3."$'\n'
}

# references: the numbers to compare with: those of FIRST_MINUTES_REFERENCE or beside this script,
# or those of a run on the CPU; with tiny shapes both.
references() {
  local key what reference=${FIRST_MINUTES_REFERENCE:-}
  names=()
  # What lies beside this script is not of the tiny shape.
  [ -n "$reference$tiny" ] || reference=$here/random_smollm2.json
  if [ -s "$reference" ]; then
    for what in float64 cpu_float32; do
      for key in loss grad_norm; do expected $what $key >"$scratch/$what.$key" || true; done
      [ ! -s "$scratch/$what.loss" ] || names+=("$what")
    done
  fi
  [ ${#names[@]} = 0 ] || [ -n "$tiny" ] || return 0
  names+=(this_cpu)
  limited 60 train_cpu "$tessera" train "$model/run.yml" device=cpu output_dir="$runs/cpu" || true
  for key in loss grad_norm; do
    numbers $key >"$scratch/this_cpu.$key" 2>/dev/null <"$runs/cpu/metrics.jsonl" || true
  done
}

# resumed: the end of a run again, from its checkpoint of step 4.
resumed() {
  rm -rf "$runs/resumed/checkpoint-8" "$runs/resumed/adapter_model.safetensors"
  begin_run resumed resume_from_checkpoint=auto
  finish
  same bfloat16 resumed "resumed after step 4" "${codes[@]}"
}

# training: all of them; $logs keeps each run's metrics.
training() {
  local run
  trainings
  for run in "$runs"/*/; do
    cp "$run/metrics.jsonl" "$logs/metrics_$(basename "$run").jsonl" 2>/dev/null || true
  done
  rm -rf "$runs"
}

trainings() {
  local exact=(bnb_4bit_compute_dtype=float32) paged=(optimizer=paged_adamw_8bit) with
  paged+=(optimizer_page_budget=0B)
  limited 60 write_model "$here/random_smollm2.sh" "$write_model" "$model" ${tiny:+tiny} || {
    record 3 training 1 "" <<<"The model could not be written: $(tail -n 1 "$logs/write_model.err")"
    return
  }
  begin_run float32 "${exact[@]}"
  begin_run float32_again "${exact[@]}"
  begin_run bfloat16
  begin_run bfloat16_again
  finish
  same float32 float32_again "float32 twice" "${codes[@]:0:2}"
  same bfloat16 bfloat16_again "bfloat16 twice" "${codes[@]:2:2}"
  if [[ " ${codes[*]} " == *" "@(124|137)" "* ]]; then # as others would
    skip 3 "other trainings" "one of the first did not end within its time"
    return
  fi
  begin_run resumed
  begin_run recomputed gradient_checkpointing=true
  begin_run offloaded gradient_checkpointing=offload
  finish
  same bfloat16 recomputed "recomputed activations" "${codes[1]}"
  same bfloat16 offloaded "offloaded activations" "${codes[2]}"
  resumed
  begin_run paged optimizer=paged_adamw_32bit optimizer_page_budget=0B
  begin_run paged_8bit "${paged[@]}"
  begin_run paged_8bit_again "${paged[@]}"
  finish
  same bfloat16 paged "paged optimizer" "${codes[0]}"
  same paged_8bit paged_8bit_again "paged 8-bit optimizer twice" "${codes[@]:1:2}"
  references
  for with in "${names[@]}"; do
    compare float32 "$with" 1e-5
    compare bfloat16 "$with" 2e-2
  done
}
