#!/usr/bin/env bash
# Runs under mpirun that are told to stop: all ranks save one checkpoint, and the run goes on from
# it to the bytes of a run that nobody stopped.  Usage: signals.sh TESSERA WRITE_MODEL [all]
. "$(dirname "$0")/jobs.sh"

# straight STEPS: the run that nobody stops.
straight() {
  run=(max_steps="$1" warmup_steps=4)
  train 1 "$work/straight" "${run[@]}" overwrite_output_dir=true || die "the straight run failed"
}

# stop SIGNAL TARGET RANKS: to mpirun or to a rank (its number), in mid-run. Gives $code and $out.
stop() {
  local target
  out=$work/$1-$2
  start "$3" "$out" "${run[@]}"
  within 60 has_line '^step *20/' || die "step 20 has not come within 60 s"
  [ "$2" = mpirun ] && target=$job || target=$(process_of "$2")
  kill -s "$1" "$target"
  ended 60
}

# stopped WHAT: there is one checkpoint, of the step at which all stopped.
stopped() {
  local step
  step=$(sed -nE 's/^stopped after step ([0-9]+) of [0-9]+; .*/\1/p' "$log")
  [ -n "$step" ] || die "$1: the run did not stop"
  [ "$(echo "$out"/checkpoint-*)" = "$out/checkpoint-$step" ] || die "$1: not one checkpoint"
  grep -q '"finished": false' "$out/state.json" || die "$1: state.json says finished"
}

# goes_on WHAT RANKS
goes_on() {
  train "$2" "$out" "${run[@]}" resume_from_checkpoint=auto || die "$1: does not go on"
  same_run "$work/straight" "$out" "$1"
}

straight 200
stop USR1 mpirun 3
[ $code = 3 ] || die "SIGUSR1 to mpirun: exit code $code"
stopped "SIGUSR1 to mpirun"
grep -q '^note .*SIGUSR1' "$log" || die "no note on how to stop"
goes_on "SIGUSR1 to mpirun" 2

stop TERM 1 2
[ $code = 3 ] || die "SIGTERM to one rank: exit code $code"
stopped "SIGTERM to one rank"
goes_on "SIGTERM to one rank" 1

export OMPI_MCA_odls_base_sigkill_timeout=60
train 2 "$work/patient" max_steps=1 || die "a patient mpirun failed"
! grep -q '^note' "$log" || die "a note on stopping, though mpirun is patient"
unset OMPI_MCA_odls_base_sigkill_timeout
[ "${1:-}" = all ] || exit 0

# mpirun passes these on after a second only, and leaves its ranks another one, which is enough for
# these steps. The exit code is its own.
straight 1500
for signal in TERM INT; do
  stop $signal mpirun 2
  [ $code != 0 ] || die "SIG$signal to mpirun: exit code 0"
  stopped "SIG$signal to mpirun"
done
goes_on "SIGINT to mpirun" 3
