# Sourced by scripts that have a folder $work, clean_up and skip. Makes two hosts $a and $b for
# mpirun: network namespaces joined by a link of 1 Gbit/s, which go away with the script. It mounts
# over /etc/hosts, so the script runs in a mount namespace of its own.
[ "$(id -u)" = 0 ] || skip "only root can make network namespaces"
command -v ip >/dev/null && command -v tc >/dev/null || skip "iproute2 is not installed"

a=tessera-a b=tessera-b
remove_hosts() {
  local host
  for host in $a $b; do
    ip netns pids $host 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    ip netns del $host 2>/dev/null || true
  done
}
trap 'remove_hosts; clean_up' EXIT
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns 2>/dev/null || skip "cannot mount"
{ ip netns add $a && ip netns add $b &&
  ip link add eth0 netns $a type veth peer name eth0 netns $b; } 2>/dev/null ||
  skip "network namespaces cannot be made here"
printf '127.0.0.1 localhost\n10.77.0.1 %s\n10.77.0.2 %s\n' $a $b >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
number=0
for host in $a $b; do
  ip -n $host addr add 10.77.0.$((number += 1))/24 dev eth0
  ip -n $host link set lo up
  ip -n $host link set eth0 up
  tc -n $host qdisc add dev eth0 root tbf rate 1gbit burst 1mb latency 50ms ||
    skip "the rate of a link cannot be limited here"
done

cat >"$work/agent" <<'SH'
#!/usr/bin/env bash
host=$1
shift
exec ip netns exec "$host" unshare --uts bash -c "hostname $host; $*"
SH
chmod +x "$work/agent"

mpirun_options=()
# launch RANKS COMMAND...: half of the ranks on each host, instead of all on this one.
launch() {
  local ranks=$1
  shift
  [ "$ranks" != 1 ] || exec bash -c '"$@"; exit $?' bash "$@"
  printf '%s slots=%d\n' $a $((ranks / 2)) $b $((ranks / 2)) >"$work/hostfile"
  exec ip netns exec $a unshare --uts bash -c 'hostname "$0"; exec "$@"' $a \
    mpirun --mca plm_rsh_agent "$work/agent" --mca btl tcp,self \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    --hostfile "$work/hostfile" --bind-to none "${mpirun_options[@]}" -np "$ranks" "$@"
}
# Bytes that have left host $a and come to it.
crossed() {
  ip netns exec $a cat /sys/class/net/eth0/statistics/{t,r}x_bytes | paste -sd' '
}
