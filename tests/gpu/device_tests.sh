# Sourced by first_minutes.sh: runs tests of $cuda_tests so that one that breaks the device, or the
# process, takes no other with it.

# log_of FILTER: a name for its log.
log_of() {
  local name=${1//[^A-Za-z0-9]/_}
  echo "${name:0:150}.log"
}
export -f log_of

# pool LIMIT FOLDER FILTERS: a process for each filter of the file, four at a time; the folder gets
# their logs, which end with an exit code unless LIMIT was over before. The tests are small, and one
# GPU serves several processes in turn.
pool() {
  mkdir -p "$2"
  # shellcheck disable=SC2016
  limited "$1" pool xargs -a "$3" -d '\n' -P 4 -I{} bash -c \
    'log=$1/$(log_of "$2")
    timeout --foreground -k 2 90 "$0" --gtest_filter="$2" >"$log" 2>&1
    echo "exit code $?" >>"$log"' "$cuda_tests" "$2" {} || true
}

# verdicts FOLDER WORD: names of the tests that googletest said so of, such as OK.
verdicts() {
  sed -nE "s/^\[ +$2 +\] ([^ ,]+).*\(.*/\1/p" "$1"/*.log 2>/dev/null | sort -u
}

# device_tests NUMBER NAME LIMIT PATTERN BY [EXCEPT]: the tests whose names match, in a process for
# each suite or each test (BY); those that did not pass once more, each alone, in half of LIMIT. A
# record of what passed, failed and was skipped.
device_tests() {
  local number=$1 name=$2 limit=$3 pattern=$4 by=$5 folder=$logs/tests-$1-${2// /-} code=0
  limited 30 list_tests "$cuda_tests" --gtest_list_tests || code=$?
  rm -rf "$folder" # of an earlier run
  mkdir -p "$folder"
  awk '/^[^ ]/ { suite = $1 } /^ / { print suite $1 }' "$logs/list_tests.out" |
    grep -E "$pattern" | grep -vE "${6:-^$}" | sort -u >"$folder/all" || true
  if [ ! -s "$folder/all" ]; then
    record "$number" "$name" $((code > 0 ? code : 1)) "" <<<"There are no such tests: \
$(tail -n 1 "$logs/list_tests.err")"
    return
  fi
  if [ "$by" = suite ]; then
    awk -F. '{ list[$1] = list[$1] (list[$1] == "" ? "" : ":") $0 }
             END { for (suite in list) print list[suite] }' "$folder/all" >"$folder/filters"
  else
    cp "$folder/all" "$folder/filters"
  fi
  pool "$limit" "$folder/together" "$folder/filters"
  verdicts "$folder/together" OK >"$folder/passed"
  verdicts "$folder/together" SKIPPED >"$folder/skipped"
  sort -u "$folder/passed" "$folder/skipped" | comm -23 "$folder/all" - >"$folder/again"
  [ ! -s "$folder/again" ] || pool $((limit / 2)) "$folder/alone" "$folder/again"
  tell_tests "$number" "$name" "$folder"
}

# tell_tests NUMBER NAME FOLDER
tell_tests() {
  local folder=$3 test says failures="" text="" broken=0 code=0
  verdicts "$folder/alone" OK >"$folder/passed_alone"
  while read -r test; do
    if grep -qxF "$test" "$folder/passed_alone"; then
      says="passes alone: $(why_again "$test" "$folder")"
    else
      code=1 broken=$((broken + 1))
      says=$(first_words "$folder/alone/$(log_of "$test")" "$test")
    fi
    failures+="${failures:+,}{\"test\":$(json_text "$test"),\"says\":$(json_text "$says")}"
    text+="- \`$test\`: $says"$'\n'
  done <"$folder/again"
  local passed skipped reran
  passed=$(wc -l <"$folder/passed") skipped=$(wc -l <"$folder/skipped")
  reran=$(wc -l <"$folder/passed_alone")
  record "$1" "$2" $code "{\"passed\":$((passed + reran)),\"failed\":$broken,\"skipped\":$skipped,\
\"failures\":[$failures]}" <<<"$((passed + reran)) passed, $broken failed, $skipped skipped.

$text"
}

# exit_code LOG: nothing where its process was stopped with the whole pool.
exit_code() { sed -nE '$s/.*exit code ([0-9]+)$/\1/p' "$1" 2>/dev/null; }

# has_failed LOG TEST: whether googletest says so.
has_failed() { grep -qsF -e "[  FAILED  ] $2 (" -e "[  FAILED  ] $2," "$1"; }

# why_again TEST FOLDER: why a test did not pass beside others.
why_again() {
  local log
  log=$2/together/$(log_of "$(awk -v t="$1" 'index(":" $0 ":", ":" t ":")' "$2/filters")")
  case $(exit_code "$log") in
    "") echo "the time for all was over before it ended" ;;
    124 | 137) echo "its process ran past its time" ;;
    *)
      if has_failed "$log" "$1"; then
        echo "before, it said: $(first_words "$log" "$1")"
      else
        echo "something before it broke the device or the process"
      fi
      ;;
  esac
}

# first_words LOG TEST: what a test that failed says first.
first_words() {
  if has_failed "$1" "$2"; then
    awk -v test="$2" '/^\[  FAILED  \]/ { on = 0 } on { print }
                      $0 == "[ RUN      ] " test { on = 1 }' "$1" |
      head -n 5 | tr '\n' ' ' | cut -c1-600
    return
  fi
  case $(exit_code "$1") in
    124 | 137) echo "ran past its time" ;;
    "") echo "did not end before the time for all was over" ;;
    *) echo "ended the process: $(tail -n 3 "$1" | tr '\n' ' ')" ;;
  esac
}
