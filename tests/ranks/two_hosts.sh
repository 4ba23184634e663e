#!/usr/bin/env bash
# Two network namespaces joined by a slow link are two hosts to mpirun. The same bytes as from one
# process; hybrid sharding sends only gradients across; a link that is cut in mid-step ends the job,
# which goes on once there is a link again.  Usage: two_hosts.sh TESSERA WRITE_MODEL
if [ "$(id -u)" = 0 ] && [ -z "${TESSERA_OWN_MOUNTS:-}" ]; then
  # Names of namespaces and hosts are mounts, which go away with the script.
  TESSERA_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
. "$(dirname "$0")/jobs.sh"
. "$(dirname "$0")/hosts.sh"

"$write_model" "$work/model" rows=24 # three whole steps of 8 an epoch
run=(max_steps=6)
train 1 "$work/straight" "${run[@]}" || die "one process failed"
for how in "2 full" "4 full" "4 hybrid" "4 host"; do
  read -r ranks sharding <<<"$how"
  out=$work/$ranks-$sharding
  train "$ranks" "$out" "${run[@]}" sharding="$sharding" || die "$how: failed"
  same_run "$work/straight" "$out" "$how, two hosts"
done

# The two ranks of a host join their four micro-batches to one subtree. Each sends a quarter of it,
# and then its slice of the sum to one rank, which passes it on: four slices each way. Parts of
# layers cross, too. The plan counts both.
bytes_of_run() { # STEPS SHARDING: "sent received" by host $a
  local before after
  before=$(crossed)
  train 4 "$work/bytes-$1-$2" max_steps="$1" global_batch_size=8 sharding="$2" || die "failed"
  after=$(crossed)
  echo "$before $after" | awk '{ print $3 - $1, $4 - $2 }'
}
few=4 many=24
for sharding in hybrid full; do
  measured=$(echo "$(bytes_of_run $few $sharding) $(bytes_of_run $many $sharding)" |
    awk -v steps=$((many - few)) '{ printf "%d %d", ($3 - $1) / steps, ($4 - $2) / steps }')
  planned=$("$tessera" plan "$config" --ranks 4 --ranks_per_node 2 --json global_batch_size=8 \
    sharding=$sharding | sed -nE 's/.*"bytes_between_nodes": ([0-9]+).*/\1/p')
  echo "$sharding: bytes a step across the link, each way: $measured; planned: $planned"
  echo "$measured $planned" |
    awk '{ exit !($1 > 0.95 * $3 && $1 < 1.05 * $3 && $2 > 0.95 * $3 && $2 < 1.05 * $3) }' ||
    die "$sharding: not the bytes that were planned"
done

# The link is cut. The watchdogs end the ranks; mpirun itself hears of the other host only by what
# these options ask for, and would wait for it for a quarter of an hour.
run=(max_steps=150 warmup_steps=4)
train 1 "$work/long" "${run[@]}" || die "one process failed"
out=$work/cut
mpirun_options=(--mca oob_tcp_keepalive_time 1 --mca oob_tcp_keepalive_intvl 1
  --mca oob_tcp_keepalive_probes 6)
start 4 "$out" "${run[@]}" save_steps=10 watchdog_seconds=5
within 60 has_line '^step *30/' || die "step 30 has not come within 60 s"
begin=$(date +%s%3N)
ip -n $a link set eth0 down
ended 30
nobody_on_b() { [ -z "$(ip netns pids $b)" ]; }
within 30 nobody_on_b || die "ranks are left on the other host"
took=$(($(date +%s%3N) - begin))
echo "both hosts had ended the job $took ms after the link was cut, watchdog_seconds 5"
[ $code != 0 ] || die "the link is cut, but the exit code is 0"
[ $took -lt 10000 ] || die "the job ended late"
has_line "^tessera: rank [01]: rank 2 on $b .* did not come to an\? [a-z_]* that rank [01] on $a \
(.*step [0-9]*.*) has waited in for 5 s" || die "nobody says which rank is lost"

ip -n $a link set eth0 up
# Nobody listens there; that the other host says so is an answer.
answers() {
  [[ $(ip netns exec $b timeout 2 bash -c ': </dev/tcp/10.77.0.1/1' 2>&1 || true) = *refused* ]]
}
within 20 answers || die "the link does not come up"
train 2 "$out" "${run[@]}" resume_from_checkpoint=auto || die "does not go on"
same_run "$work/long" "$out" "a link that was cut"
