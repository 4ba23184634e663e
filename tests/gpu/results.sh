# Sourced by first_minutes.sh: runs commands within their time, and keeps what they show.
# results.jsonl and results.md only grow, by whole lines and whole sections, so that they are right
# whenever somebody kills the script. Needs the folders $out, $logs and $scratch, and $budget, in
# seconds.
jsonl=$out/results.jsonl md=$out/results.md
jobs_running=() # process ids of what start() began
failed=()       # names of steps

now_ms() {
  local time=${EPOCHREALTIME/[.,]/}
  echo $((time / 1000))
}
begun=$(now_ms)

# left: seconds of the budget.
left() {
  local seconds=$((budget - ($(now_ms) - begun) / 1000))
  echo $((seconds > 0 ? seconds : 0))
}

# append FILE: stdin at its end, in one write.
append() {
  cat >"$scratch/append"
  cat "$scratch/append" >>"$1"
}

# json_text TEXT: a string of JSON, of what is printable in TEXT.
json_text() {
  local text
  text=$(LC_ALL=C tr '\n\t' '  ' <<<"$1" | LC_ALL=C tr -cd '\40-\176' | sed 's/ *$//')
  text=${text//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# json_lines: the lines of stdin as an array of strings.
json_lines() {
  local line comma=""
  printf '['
  while IFS= read -r line; do
    printf '%s' "$comma"
    json_text "$line"
    comma=,
  done
  printf ']'
}

# json_numbers FILE: its lines, which are numbers, as an array.
json_numbers() { printf '[%s]' "$(paste -sd, "$1")"; }

# json_number FILE KEY, json_word FILE KEY: the first value of that name in a JSON that bench_gpu
# wrote.
json_number() { grep -o "\"$2\":[-+.0-9e]*" "$1" | head -n 1 | cut -d: -f2; }
json_word() { grep -o "\"$2\":\"[^\"]*\"" "$1" | head -n 1 | cut -d'"' -f4; }

# json_file FILE: its one line of JSON; {} where there is none.
json_file() { if [ -s "$1" ]; then head -n 1 "$1" | tr -d '\n'; else printf '{}'; fi; }

# seconds MILLISECONDS
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# A step is what one record tells of: its number in the list of first_minutes.sh, and a name.
step_begun=$begun

# record NUMBER NAME RC VALUES: a step that ended; VALUES is an object of JSON, stdin is what the
# Markdown says.
record() {
  local took=$(($(now_ms) - step_begun)) verdict=ok values=${4:-}
  [ -n "$values" ] || values='{}'
  [ "$3" = 0 ] || { verdict="**failed ($3)**" && failed+=("$1 $2"); }
  [[ "$3" != @(124|137) ]] || verdict="**ran past its time**"
  printf '{"step":%d,"name":%s,"seconds":%s,"rc":%d,"values":%s}\n' \
    "$1" "$(json_text "$2")" "$(seconds $took)" "$3" "$values" | append "$jsonl"
  { printf '## %d. %s: %s, %s s\n\n' "$1" "$2" "$verdict" "$(seconds $took)" && cat; } |
    append "$md"
  printf '%3d s  %d. %-44s %s  %s s\n' $((($(now_ms) - begun) / 1000)) "$1" "$2" \
    "${verdict//\*/}" "$(seconds $took)"
  step_begun=$(now_ms)
}

# skip NUMBER NAME REASON: a step that could not be.
skip() {
  printf '{"step":%d,"name":%s,"seconds":0,"rc":null,"skipped":%s,"values":{}}\n' \
    "$1" "$(json_text "$2")" "$(json_text "$3")" | append "$jsonl"
  printf '## %d. %s: skipped\n\n%s\n\n' "$1" "$2" "$3" | append "$md"
  printf '%3d s  %d. %-44s skipped: %s\n' $((($(now_ms) - begun) / 1000)) "$1" "$2" "$3"
  step_begun=$(now_ms)
}

# fits NUMBER NAME SECONDS: whether a step that takes so long is begun; skips it otherwise.
fits() {
  step_begun=$(now_ms)
  [ "$(left)" -lt "$3" ] || return 0
  skip "$1" "$2" "$(left) s are left of $budget; it takes about $3"
  return 1
}

# start LIMIT LOG COMMAND...: in the background, for LIMIT seconds at most and never beyond the
# budget; what it prints is in $logs/LOG.out and $logs/LOG.err.
start() {
  local limit=$1 log=$2 most
  shift 2
  most=$(left)
  [ "$limit" -le "$most" ] || limit=$most
  [ "$limit" -gt 0 ] || limit=1
  timeout -k 5 "$limit" "$@" >"$logs/$log.out" 2>"$logs/$log.err" </dev/null &
  jobs_running+=($!)
}

# finish: waits for all that was started; $codes has their exit codes in order.
finish() {
  local job code
  codes=()
  for job in "${jobs_running[@]}"; do
    code=0
    wait "$job" || code=$?
    codes+=("$code")
  done
  jobs_running=()
}

# limited LIMIT LOG COMMAND...: start and finish; gives the exit code.
limited() {
  start "$@"
  finish
  return "${codes[0]}"
}

# stopped SIGNAL: the script ends, and what it runs.
stopped() {
  trap '' INT TERM
  [ ${#jobs_running[@]} = 0 ] || kill -TERM "${jobs_running[@]}" 2>/dev/null || true
  wait
  printf 'first_minutes.sh: stopped; %s has what there was\n' "$out" >&2
  rm -rf "$scratch"
  exit $((128 + $1))
}
trap 'stopped 2' INT
trap 'stopped 15' TERM
