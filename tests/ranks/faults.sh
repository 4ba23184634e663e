#!/usr/bin/env bash
# Runs in which one rank goes wrong: the job ends soon, with one line that says which rank and why,
# and goes on from its last checkpoint.  Usage: faults.sh TESSERA WRITE_MODEL
. "$(dirname "$0")/jobs.sh"

run=(max_steps=150 warmup_steps=4)
train 1 "$work/straight" "${run[@]}" || die "the run without faults failed"

# A rank that is stopped.
out=$work/stopped
start 3 "$out" "${run[@]}" watchdog_seconds=5 save_steps=10
within 60 has_line '^step *30/' || die "step 30 has not come within 60 s"
begin=$(date +%s%3N)
kill -STOP "$(process_of 1)"
ended 30
took=$(($(date +%s%3N) - begin))
[ $code != 0 ] || die "a stopped rank: exit code 0"
[ $took -lt 10000 ] || die "a stopped rank: the job ended after $took ms"
echo "the job of a stopped rank ended after $took ms, watchdog_seconds 5"
phase='step [0-9]+, [a-z ]+|checkpoint after step [0-9]+'
[ "$(grep -cE "^tessera: rank [02]: rank 1 \(($phase); shows no sign of life\) did not come to an? \
[a-z_]+ that rank [02] \(($phase)\) has waited in for 5 s$" "$log")" = 1 ] ||
  die "a stopped rank: not one line that names it"
train 2 "$out" "${run[@]}" resume_from_checkpoint=auto || die "a stopped rank: does not go on"
same_run "$work/straight" "$out" "a stopped rank"

# together OTHER_CONFIG: rank 1 has another config. Gives $code.
together() {
  log=$work/together.log code=0
  timeout 60 mpirun --oversubscribe --bind-to none \
    -np 1 "$tessera" train "$config" output_dir="$work/together" : \
    -np 1 "$tessera" train "$1" output_dir="$work/together" >"$log" 2>&1 </dev/null || code=$?
}

# refused WHAT CODE TEXT: one line of tessera's, with the text.
refused() {
  [ $code = "$2" ] || die "$1: exit code $code"
  [ "$(grep -c '^tessera: ' "$log")" = 1 ] || die "$1: not one line"
  has_line "^tessera: .*$3" || die "$1: does not say $3"
}

other=$work/model/other.yml
sed 's/learning_rate: .*/learning_rate: 3e-3/' "$config" >"$other"
together "$other"
refused "another config" 2 'learning_rate.* 0.001 on rank 0.* 0.003 on rank 1'
sed 's/learning_rate:/lerning_rate:/' "$config" >"$other"
together "$other"
refused "a config with an error" 2 "other.yml:.*lerning_rate"
sed 's/learning_rate:/lerning_rate:/; /^lora_r:/d; $ a lora_r: none' "$config" >"$other"
log=$work/together.log code=0
timeout 60 mpirun --oversubscribe --bind-to none -np 3 "$tessera" train "$other" \
  output_dir="$work/faults" >"$log" 2>&1 </dev/null || code=$?
[ $code = 2 ] || die "a config with two errors: exit code $code"
[ "$(grep -c '^tessera: ' "$log")" = 2 ] || die "a config with two errors: not one line each"
has_line '^tessera: .*other.yml:[0-9]*: unknown key .lerning_rate' || die "the first is not told"
has_line '^tessera: .*other.yml:[0-9]*: lora_r: expected' || die "the second is not told"
sed 's/^base_model:.*/base_model: nowhere/' "$config" >"$other"
together "$other"
refused "a base model that is missing" 2 'nowhere'
