#!/usr/bin/env bash
# Trials: a run whose ranks are killed (SIGKILL to a random one at a random moment), resumed on
# another number of ranks, perhaps killed again, until it is through. Its adapter must be, byte for
# byte, that of a run that nobody disturbed.
# Usage: kill_and_resume.sh TESSERA WRITE_MODEL [TRIALS]: 10 with TESSERA_WHOLE, else 4
. "$(dirname "$0")/../ranks/jobs.sh"
trials=${1:-$([ -n "${TESSERA_WHOLE:-}" ] && echo 10 || echo 4)}
RANDOM=$seed

steps=40
run=(max_steps=$steps warmup_steps=4)
train 1 "$work/straight" "${run[@]}" || die "the run that nobody disturbs failed"

# random_rank_count OTHER_THAN
random_rank_count() {
  local n=$1
  while [ "$n" = "$1" ]; do n=$((RANDOM % 4 + 1)); done
  echo "$n"
}

# a_random_rank: its process, if the job has begun and not ended.
a_random_rank() {
  local pids
  mapfile -t pids < <(pgrep -P "$job")
  [ ${#pids[@]} = 0 ] || echo "${pids[RANDOM % ${#pids[@]}]}"
}

# random_moment OUT: waits for one: while the job starts, or somewhat after a random step.
random_moment() {
  local done step
  done=$(sed -nE 's/^checkpoint-([0-9]+)$/\1/p' "$1/latest" 2>/dev/null || echo 0)
  step=$((RANDOM % (steps - done + 8) + done - 7))
  if [ $step -gt "$done" ]; then
    within 60 begun_or_ended $step || die "step $step has not come within 60 s"
  fi
  sleep "0.$(printf %03d $((RANDOM % 60 * (step > done ? 1 : 10))))"
}
begun_or_ended() { has_line "^step *$1/" || has_ended; }

kills=0 resumed=0 half_written=0 mpirun_stuck=0
# Open MPI 4.1.4's mpirun (with PMIx 4.2.2) may lock itself up when a rank dies while it connects.
# Its ranks are gone by then.
only_mpirun_is_left() {
  has_line 'PMIX ERROR: UNREACHABLE' && ! ps -o stat= --ppid "$job" | grep -qv '^Z'
}
ended_or_stuck() { has_ended || only_mpirun_is_left; }
# ended_though_killed: as ended.
ended_though_killed() {
  within 120 ended_or_stuck || die "the ranks have not ended within 120 s"
  if ! within 10 has_ended; then
    kill -KILL "$job"
    mpirun_stuck=$((mpirun_stuck + 1))
  fi
  ended 10
}

unfinished() { stat -c %i "$1"/checkpoint-*.tmp 2>/dev/null || true; }
# trial OUT: runs to the end through at most three kills.
trial() {
  local out=$1 ranks=0 attempt pid before after
  local shardings=(full replicate hybrid host)
  for attempt in 1 2 3 last; do
    ranks=$(random_rank_count $ranks)
    before=$(unfinished "$out")
    start "$ranks" "$out" "${run[@]}" resume_from_checkpoint=auto save_steps=$((RANDOM % 2 + 1)) \
      save_total_limit=$((RANDOM % 2 + 1)) sharding="${shardings[RANDOM % 4]}" \
      optimizer_sharding="$([ $((RANDOM % 2)) = 0 ] && echo true || echo false)"
    if [ $attempt != last ]; then
      random_moment "$out"
      pid=$(a_random_rank)
      if [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null; then kills=$((kills + 1)); fi
    fi
    ended_though_killed
    ! grep -q '^resumed ' "$log" || resumed=$((resumed + 1))
    after=$(unfinished "$out")
    if [ $code = 0 ]; then
      [ -z "$after" ] || die "a half-written checkpoint was left for good"
      return
    fi
    [ "$after" = "$before" ] || half_written=$((half_written + 1))
    [ $attempt != last ] || die "an undisturbed attempt ended with exit code $code"
    ! grep -q '^tessera: ' "$log" || die "a rank failed by itself"
  done
}

for ((t = 1; t <= trials; ++t)); do
  out=$work/trial
  rm -rf "$out"
  trial "$out"
  same_run "$work/straight" "$out" "trial $t of seed $seed"
done
echo "$trials of $trials trials ended in the same bytes: $kills kills, $half_written left a" \
  "half-written checkpoint, $resumed starts from a checkpoint, $mpirun_stuck left mpirun locked up"
