#!/usr/bin/env bash
# A disk that has room for one checkpoint and no second: the run warns each time, keeps the one it
# has, and goes on from it once there is room.  Usage: full_disk.sh TESSERA WRITE_MODEL
if [ "$(id -u)" = 0 ] && [ -z "${TESSERA_OWN_MOUNTS:-}" ]; then
  TESSERA_OWN_MOUNTS=1 exec unshare --mount "$0" "$@" # which go away with the script
fi
. "$(dirname "$0")/jobs.sh"
[ "$(id -u)" = 0 ] || skip "only root can mount a small disk"

run=(max_steps=8 save_steps=2)
train 1 "$work/straight" "${run[@]}" || die "the run with room failed"
one=$(du -sk "$work/straight/checkpoint-8" | cut -f1)

out=$work/small
mkdir "$out"
mount -t tmpfs -o size=$((one * 3 / 2))k tmpfs "$out" 2>/dev/null || skip "cannot mount a tmpfs"
trap 'umount "$out"; clean_up' EXIT
! train 2 "$out" "${run[@]}" || die "ended well without having written its adapter"
has_line "saved $out/checkpoint-2" || die "the first checkpoint was not written"
for step in 4 6; do
  has_line "^warning: step $step: no checkpoint was written: .*$out.*No space left" ||
    die "no warning at step $step"
done
has_line '^step 8/8' || die "the run did not go on"
has_line "^tessera: .*$out.*No space left" || die "the end does not say why"
[ "$(echo "$out"/checkpoint-*)" = "$out/checkpoint-2" ] || die "not just the old checkpoint"

mount -o remount,size=$((one * 8))k "$out"
train 3 "$out" "${run[@]}" resume_from_checkpoint=auto || die "does not go on"
has_line "^resumed  $out/checkpoint-2" || die "does not go on from the old checkpoint"
same_run "$work/straight" "$out" "a disk that was full"
