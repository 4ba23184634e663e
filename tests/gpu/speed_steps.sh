# Sourced by first_minutes.sh: speed and memory of published shapes beside the plan, operators
# alone, and the Hugging Face stack. Needs $bench_gpu and $tiny.
columns="| system | model | on | compute | rows x tokens | activations | GPU memory | planned \
| s a step | tokens/s a GPU | modelled |"
keys=(device=cuda bnb_4bit_compute_dtype=bfloat16 micro_batch_size=1)
planned=gradient_checkpointing=auto
shape=8B large=70B few=8 lengths=(4096 1024 16384)
[ -z "$tiny" ] || { shape=tiny large=tiny few=2 lengths=(64 32 128); }

# rows LOG: the table's rows that a program printed, below their columns, and what it says of the
# plan; where it failed, its last words.
rows() {
  if grep -q '^|' "$logs/$1.out"; then
    printf '%s\n|---|---|---|---|---|---|---|---|---|---|---|\n' "$columns"
    grep '^|' "$logs/$1.out"
    echo
  fi
  sed -n 's/^differs: /- /p' "$logs/$1.err"
  [ -s "$scratch/$1.json" ] || printf 'It says: %s\n' "$(tail -n 2 "$logs/$1.err" | tr '\n' ' ')"
  echo
}

# bench NUMBER NAME LIMIT LOG ARGUMENT...: a record of what bench_gpu measures; gives its exit code.
bench() {
  local number=$1 name=$2 limit=$3 log=$4 code=0
  shift 4
  limited "$limit" "$log" "$bench_gpu" "$@" --json "$scratch/$log.json" "${keys[@]}" || code=$?
  grep '^differs: ' "$logs/$log.err" >>"$scratch/differs" || true
  record "$number" "$name" $code "$(json_file "$scratch/$log.json")" < <(rows "$log")
  return $code
}

# of_length TOKENS ROWS NEEDS: a shape of 8B, so many rows a step.
of_length() {
  local name="$shape, $1 tokens"
  fits 5 "$name" "$3" || return 0
  bench 5 "$name" 90 "bench_$1" $shape sequence_len="$1" global_batch_size="$2" $planned || true
}

# large_shape: as many layers of the large one as fit, and a few; the difference is a layer's.
large_shape() {
  local name="$large, as many layers as fit" length=$((lengths[0] / 2)) share total policy
  local smaller=()
  have 6 "$name" "$bench_gpu" && fits 6 "$name" 60 || return 0
  limited 30 memory_total nvidia-smi --query-gpu=memory.total --format=csv,noheader || true
  total=$(head -n 1 "$logs/memory_total.out" | grep -o '[0-9]* MiB' | head -n 1)
  for share in 100 80 60; do
    [ $share = 100 ] || smaller=(memory_budget=$((${total% MiB} * share / 100))MiB)
    ! bench 6 "$name" 150 bench_fit $large fit sequence_len=$length global_batch_size=1 $planned \
      "${smaller[@]}" || break
    [ -n "$total" ] || return 0 # a smaller budget is not known
  done
  [ -s "$scratch/bench_fit.json" ] || return 0
  fits 6 "$large, $few layers" 30 || return 0
  mapfile -t policy < <(policy_of "$(json_word "$scratch/bench_fit.json" activations)")
  bench 6 "$large, $few layers" 90 bench_few $large $few sequence_len=$length \
    global_batch_size=1 "${policy[@]}" || return 0
  per_layer
}

# policy_of ACTIVATIONS: the keys for what bench_gpu says of them; the plan's where layers differ.
policy_of() {
  case $1 in
    kept) echo gradient_checkpointing=false ;;
    recomputed*) echo gradient_checkpointing=true ;;
    offloaded*) echo gradient_checkpointing=offload ;;
    *) echo $planned ;;
  esac
  [[ $1 != *" in groups of "+([0-9]) ]] || echo "gradient_checkpointing_layers=${1##* }"
}

per_layer() {
  local key values="" full few_of
  full=$(json_word "$scratch/bench_fit.json" activations)
  few_of=$(json_word "$scratch/bench_few.json" activations)
  if [ "$full" != "$few_of" ]; then
    skip 6 "a layer of $large" "activations are $full in one run, $few_of in the other"
    return
  fi
  for key in layers seconds_per_step memory_used; do
    values+=" $(json_number "$scratch/bench_fit.json" $key)"
    values+=" $(json_number "$scratch/bench_few.json" $key)"
  done
  values=$(awk '{ n = $1 - $2; if (n > 0) printf "%.6g %.0f", ($3 - $4) / n, ($5 - $6) / n }' \
    <<<"$values")
  if [ -z "$values" ]; then
    skip 6 "a layer of $large" "no more layers fit than the $few that were measured"
    return
  fi
  record 6 "a layer of $large" 0 "{\"seconds\":${values% *},\"bytes\":${values#* }}" \
    <<<"A layer more takes ${values% *} s a step and ${values#* } bytes."$'\n'
}

kernels() {
  local code=0 name="operators alone"
  fits 7 "$name" 20 || return 0
  limited 90 kernels "$bench_gpu" kernels $shape --json "$scratch/kernels.json" \
    sequence_len="${lengths[0]}" "${keys[@]:0:2}" || code=$?
  record 7 "$name" $code "$(json_file "$scratch/kernels.json")" \
    < <(cat "$logs/kernels.out" && tail -n 2 "$logs/kernels.err" && echo)
}

# profiled: what the hardware's counters say of the operators that take most of a step.
profiled() {
  local ncu name="ncu" code=0 what metrics
  local kernels='attention_forward|attention_backward|blockwise4_decode|norm_|activation_glu'
  ncu=$(tool ncu) || { skip 7 $name "ncu is not installed" && return 0; }
  fits 7 $name 25 || return 0
  what=gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed
  what+=,dram__throughput.avg.pct_of_peak_sustained_elapsed
  what+=,sm__warps_active.avg.pct_of_peak_sustained_active
  # The one of the tensor cores is not on every GPU: ncu then measures nothing at all.
  for metrics in $what,sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active "$what"; do
    code=0
    limited 60 ncu "$ncu" --clock-control none --csv --page raw --metrics "$metrics" \
      -k "regex:$kernels" -c 16 "$bench_gpu" kernels $shape --once \
      sequence_len="${lengths[0]}" "${keys[@]:0:2}" || code=$?
    { grep -q '^"' "$logs/ncu.out" || [ $code = 124 ]; } && break
  done
  if ! grep -q '^"' "$logs/ncu.out"; then
    skip 7 $name "$(grep -hE '==(ERROR|WARNING)==' "$logs/ncu.out" "$logs/ncu.err" | head -n 2 |
      tr '\n' ' ')"
    return
  fi
  record 7 $name $code "{\"csv\":$(grep '^"' "$logs/ncu.out" | json_lines)}" \
    < <(echo '```' && grep '^"' "$logs/ncu.out" && printf '```\n\n')
}

# peer NAME NEEDS WORD...: the Hugging Face stack on the same shape and rows; skipped where the
# GPU's memory is too small for it.
peer() {
  local name=$1 needs=$2 log=peer_${1//[^a-z0-9]/_} code=0
  shift 2
  fits 8 "$name" "$needs" || return 0
  limited 120 "$log" "$python" "$peer_program" $shape 1 "${lengths[0]}" "$@" \
    json="$scratch/$log.json" || code=$?
  if [ $code != 0 ] && grep -qi 'out of memory' "$logs/$log.err"; then
    skip 8 "$name" "$(grep -i 'out of memory' "$logs/$log.err" | tail -n 1 | cut -c1-300)"
    return $code
  fi
  record 8 "$name" $code "$(json_file "$scratch/$log.json")" < <(rows "$log")
  return $code
}

# lacks PACKAGE...: the first one that Python does not have.
lacks() {
  "$python" -c 'import importlib.util as u, sys
print(next((p for p in sys.argv[1:] if u.find_spec(p) is None), ""))' "$@" 2>/dev/null ||
    echo "$python"
}

peers() {
  local missing name="transformers and PEFT"
  peer_program=$here/gpu_peer.py
  [ -e "$peer_program" ] || peer_program=$here/../bench/gpu_peer.py
  python=${PYTHON:-python3}
  missing=$(lacks torch transformers peft)
  if [ -n "$missing" ]; then
    skip 8 "$name" "$missing is not installed"
    return
  fi
  peer "$name, bf16 base, activations kept" 40 bf16 kept ||
    peer "$name, bf16 base, recomputed" 40 bf16 || true
  missing=$(lacks bitsandbytes)
  if [ -n "$missing" ]; then
    skip 8 "$name, NF4 base" "$missing is not installed"
  else
    peer "$name, NF4 base, recomputed" 60 || true
  fi
}
