# Sourced by the scripts here and in ../soak. Their first arguments are the programs tessera and
# ranks_write_model. Gives them a folder $work that goes away, $config of a small random model, jobs
# of real processes, and comparisons. Waits are polls with a deadline.
set -euo pipefail
tessera=$1 write_model=$2
shift 2
script=$(basename "$0")
work=$(mktemp -d)
job="" # the job in the background, if there is one
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

die() {
  printf '%s: %s\n' "$script" "$*" >&2
  [ ! -s "${log:-}" ] || tail -n 40 "$log" >&2
  exit 1
}

# skip REASON: ctest knows the code, and run.sh these two lines.
skip() {
  printf '%s: Skipped\n%s: %s\n' "$script" "$script" "$1"
  exit 77
}

# sample N: that many of the lines of stdin, chosen by the seed; all of them with TESSERA_WHOLE.
seed=${TESSERA_SEED:-$RANDOM}
echo "seed $seed: TESSERA_SEED=$seed repeats it"
sample() {
  if [ -n "${TESSERA_WHOLE:-}" ]; then
    cat
  else
    awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' | sort -n | head -n "$1" |
      cut -f2-
  fi
}

# Ranks are children of mpirun; a stopped one must go, too.
end_job() {
  [ -n "$job" ] || return 0
  local ranks
  ranks=$(pgrep -P "$job" || true)
  kill -KILL $job $ranks 2>/dev/null || true
  wait "$job" 2>/dev/null || true
  job=""
}

clean_up() {
  end_job
  rm -rf "$work"
}
trap clean_up EXIT

command -v mpirun >/dev/null || skip "mpirun is not installed"
mkdir "$work/model"
"$write_model" "$work/model"
config=$work/model/config.yml

# launch RANKS COMMAND...: mpirun, or for one process a shell, whose children are the ranks.
launch() {
  local ranks=$1
  shift
  if [ "$ranks" = 1 ]; then
    exec bash -c '"$@"; exit $?' bash "$@"
  fi
  exec mpirun --oversubscribe --bind-to none -np "$ranks" "$@"
}

# finish COMMAND RANKS OUT [KEY=VALUE ...]: runs it to its end; the log is OUT.log. Gives the exit
# code.
finish() {
  local command=$1 ranks=$2 out=$3
  shift 3
  log=$out.log
  (launch "$ranks" timeout 120 "$tessera" "$command" "$config" output_dir="$out" "$@") \
    >"$log" 2>&1 </dev/null
}
train() { finish train "$@"; }

# begin COMMAND RANKS OUT [KEY=VALUE ...]: the same in the background, as $job.
begin() {
  local command=$1 ranks=$2 out=$3
  shift 3
  log=$out.log
  launch "$ranks" "$tessera" "$command" "$config" output_dir="$out" "$@" \
    >"$log" 2>&1 </dev/null &
  job=$!
}
start() { begin train "$@"; }

# within SECONDS COMMAND...: polls until the command succeeds; fails when it does not in that time.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.02
  done
}

has_line() { grep -q -- "$1" "$log" 2>/dev/null; }
has_ended() { ! kill -0 "$job" 2>/dev/null; }

# ended SECONDS: waits for the job; $code is its exit code.
ended() {
  within "$1" has_ended || die "the job has not ended within $1 s"
  code=0
  wait "$job" || code=$?
  job=""
}

# process_of RANK: of the job.
process_of() {
  local pid
  within 20 pgrep -P "$job" >/dev/null || die "the job has no ranks"
  for pid in $(pgrep -P "$job"); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
      echo "$pid"
      return
    fi
  done
  die "rank $1 is not running"
}

# metrics OUT: every line without what depends on the machine.
metrics() { sed -E 's/,"(tokens_per_second|memory|gather_wait)":[^,}]*//g' "$1/metrics.jsonl"; }

# same_run EXPECTED OUT WHAT: adapters and metrics are byte for byte the same.
same_run() {
  cmp "$1/adapter_model.safetensors" "$2/adapter_model.safetensors" || die "$3: another adapter"
  diff <(metrics "$1") <(metrics "$2") >&2 || die "$3: other metrics"
}
