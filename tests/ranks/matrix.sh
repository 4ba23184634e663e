#!/usr/bin/env bash
# The same adapter and metrics from real processes as from one, whatever is sharded, recomputed or
# paged.  Usage: matrix.sh TESSERA WRITE_MODEL [all]: the rarer ones, a sample of them (jobs.sh)
. "$(dirname "$0")/jobs.sh"

cat >>"$config" <<'YML'
lora_r: 64
val_set_size: 3
eval_steps: 2
save_steps: 3
YML
for bits in 32 8; do
  kind=adamw$([ $bits = 32 ] || echo _8bit)
  train 1 "$work/one$bits" optimizer=$kind || die "one process failed"
done
! cmp -s "$work"/one{32,8}/adapter_model.safetensors || die "8-bit moments change nothing"

# Ranks; sharding and its group; checkpointing; optimizer, its page budget and sharding.
few='2 auto    0 auto    adamw              -    false
     2 host    0 offload paged_adamw_8bit   0B   true
     3 full    0 true    adamw_8bit         -    true
     4 hybrid  2 true    paged_adamw_32bit  1MiB true
     4 full    0 offload adamw              -    false'
many='2 replicate 0 true    adamw_8bit         -    true
     2 full      0 false   paged_adamw_32bit  0B   false
     2 full      0 offload adamw              -    true
     2 hybrid    1 auto    adamw_8bit         -    false
     2 hybrid    2 offload paged_adamw_8bit   1MiB true
     2 host      0 true    adamw              -    false
     3 auto      0 offload paged_adamw_8bit   1MiB false
     3 replicate 0 auto    paged_adamw_32bit  0B   true
     3 replicate 0 offload adamw_8bit         -    false
     3 hybrid    0 false   adamw              -    true
     3 hybrid    3 true    paged_adamw_8bit   0B   false
     3 host      0 auto    adamw_8bit         -    true
     3 full      0 false   paged_adamw_32bit  1MiB true
     4 auto      0 true    paged_adamw_8bit   0B   true
     4 replicate 0 false   paged_adamw_8bit   1MiB false
     4 replicate 0 true    adamw              -    true
     4 hybrid    2 offload adamw_8bit         -    false
     4 hybrid    4 auto    paged_adamw_32bit  0B   false
     4 host      0 offload paged_adamw_32bit  1MiB true
     4 host      0 false   adamw_8bit         -    false'
[ "${1:-}" != all ] || few=$(sample 8 <<<"$many")

trial=0
while read -r ranks sharding group checkpointing optimizer budget partition; do
  options=(sharding=$sharding gradient_checkpointing=$checkpointing optimizer=$optimizer
    optimizer_sharding=$partition)
  [ "$group" = 0 ] || options+=(sharding_group="$group")
  [ "$budget" = - ] || options+=(optimizer_page_budget="$budget")
  what="$ranks ranks, ${options[*]}"
  out=$work/trial$((trial += 1))
  train "$ranks" "$out" "${options[@]}" || die "$what: failed"
  expected=$work/one32
  [[ $optimizer != *8bit ]] || expected=$work/one8
  same_run "$expected" "$out" "$what"
  # Only rank 0 speaks.
  repeated=$(sort "$log" | uniq -d)
  [ -z "$repeated" ] || die "$what: printed more than once: $repeated"
  [ "$(grep -c '^model ' "$log")" = 1 ] || die "$what: there is not one banner"
  [ "$(grep -c '^step ./4 ' "$log")" = 4 ] || die "$what: there is not one line per step"
done <<<"$few"
echo "$trial combinations of real processes"

# An evaluation has the same result and the same lines of samples.
evaluate() { # RANKS SHARDING
  log=$work/eval.log
  (launch "$1" timeout 120 "$tessera" eval "$config" adapter="$work/one32" sharding="$2" \
    --per_sample "$work/samples$1.jsonl") >"$work/eval$1.json" 2>"$log" </dev/null ||
    die "eval on $1 ranks, $2: failed"
}
evaluate 1 auto
while read -r ranks sharding; do
  evaluate "$ranks" "$sharding"
  cmp "$work"/eval{1,"$ranks"}.json || die "eval on $ranks ranks, $sharding: another result"
  cmp "$work"/samples{1,"$ranks"}.jsonl || die "eval on $ranks ranks, $sharding: other samples"
done <<<'2 auto
3 full
4 hybrid'
