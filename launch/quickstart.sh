#!/usr/bin/env bash
# From a bare Debian 12 to a fine-tuned model: installs, builds, fetches a 135M model, lets it
# answer 40 messages, trains it on 400 others, lets it answer again and counts exact matches.
#
#   launch/quickstart.sh
#
# Needs root or sudo for missing packages, and a network for them and the model (about 90 MB). All
# files go to build/ and runs/quickstart/. Started again, it builds nothing twice and trains afresh.
set -euo pipefail
cd "$(dirname "$0")/.."

data=examples/quickstart
run=runs/quickstart
model=$run/model.gguf

span() {
  printf '%dm%02ds' $(($1 / 60)) $(($1 % 60))
}

step() {
  printf '\n[%s] %s\n' "$(span $SECONDS)" "$1"
}

# answer FILE [OPTION...]: the held-out messages, answered with the most likely tokens.
answer() {
  local file=$1
  shift
  build/tessera generate --base_model "$model" --messages "$run/prompts.jsonl" \
    --max_new_tokens 64 "$@" >"$file"
}

SECONDS=0
step "Installing what the build needs, then building"
launch/setup.sh
mkdir -p "$run"
cmake --preset release >"$run/cmake.log" || { cat "$run/cmake.log" >&2; exit 1; }
cmake --build build --target tessera

step "Fetching SmolLM2-135M-Instruct"
launch/get_smollm2.sh "$run"
echo "$model"
built=$SECONDS

step "Before training: 40 messages that are not in the training data"
python3 "$data/score.py" prompts "$data/test.jsonl" >"$run/prompts.jsonl"
answer "$run/before.jsonl"

step "Training on 400 messages"
build/tessera train "$data/quickstart.yml"

step "After training: the same 40 messages"
answer "$run/after.jsonl" --adapter "$run/adapter"

step "Result"
python3 "$data/score.py" compare "$data/test.jsonl" "$run/before.jsonl" "$run/after.jsonl"

cat <<TEXT

  adapter      $run/adapter   (PEFT's format)
  total time   $(span $SECONDS), of which $(span $((SECONDS - built))) after build and download

Try next, here in $PWD:

  # A message of your own. Edit the file, then:
  build/tessera generate --base_model $model --adapter $run/adapter --messages $data/message.json

  # One model that needs no adapter, which transformers loads:
  build/tessera merge --base_model $model --adapter $run/adapter --output $run/merged

  # Loss and perplexity on the held-out records, with the adapter and without:
  build/tessera eval $data/quickstart.yml datasets.0.path=$data/test.jsonl
  build/tessera eval $data/quickstart.yml datasets.0.path=$data/test.jsonl adapter=none
TEXT
