#!/usr/bin/env bash
# Runs COMMAND as RANKS ranks, half of them on each of two hosts that are network namespaces of this
# machine, joined by a link of 1 Gbit/s; writes how many bytes left the first host and came to it,
# "SENT RECEIVED", to FILE. Exits with 77 where there can be no such hosts.
#
#   tests/bench/on_two_hosts.sh RANKS FILE COMMAND...
if [ "$(id -u)" = 0 ] && [ -z "${TESSERA_OWN_MOUNTS:-}" ]; then
  TESSERA_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
set -euo pipefail
ranks=$1 file=$2
shift 2
skip() {
  echo "on_two_hosts.sh: Skipped: $1" >&2
  exit 77
}
work=$(mktemp -d)
clean_up() { rm -rf "$work"; }
trap clean_up EXIT
. "$(dirname "$0")/../ranks/hosts.sh"

before=$(crossed)
(launch "$ranks" "$@")
echo "$before $(crossed)" | awk '{ print $3 - $1, $4 - $2 }' >"$file"
