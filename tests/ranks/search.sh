#!/usr/bin/env bash
# Searches by real processes choose what one process chooses, and leave its bytes, also after one of
# the ranks is killed.  Usage: search.sh TESSERA WRITE_MODEL
. "$(dirname "$0")/jobs.sh"

sed -i "s/^max_steps:.*/max_steps: 100/" "$config"
cat >>"$config" <<'YML'
warmup_steps: 4
val_set_size: 3
search_ranks: [2, 4, 8]
search_steps: 60
YML

# outcome OUT: what was found, without what depends on the machine.
outcome() { grep -v '"seconds"\|"memory"' "$1/search/search.json"; }

# same_search OUT WHAT
same_search() {
  diff <(outcome "$work/one") <(outcome "$1") >&2 || die "$2: another outcome"
  same_run "$work/one" "$1" "$2"
}

finish search 1 "$work/one" || die "one process failed"
finish search 3 "$work/three" || die "three ranks failed"
same_search "$work/three" "three ranks"
for line in '^base ' '^data '; do
  [ "$(grep -c "$line" "$log")" = 1 ] || die "the base and the data are not read once"
done

out=$work/killed
begin search 2 "$out"
within 60 has_line '^search   candidate 2 of 3' || die "the second candidate does not begin"
kill -KILL "$(process_of 1)"
ended 60
[ $code != 0 ] || die "a killed rank: exit code 0"
[ ! -e "$out/adapter_model.safetensors" ] || die "a killed rank: it was done before"
finish search 3 "$out" resume_from_checkpoint=auto || die "a killed rank: does not go on"
same_search "$out" "a killed rank"
