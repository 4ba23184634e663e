#!/usr/bin/env bash
# Fails when a file, a line or a function is longer than the house rules allow, or when the six files
# that a newcomer reads are together longer than 1,200 lines.  Usage: budgets.sh ROOT
set -euo pipefail
export LC_ALL=C
cd "$1"

max_file=600 max_line=100 max_function=100 max_path=1200
mapfile -t sources < <(find runtime quant parallel optim lora launch tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')

found=$(awk -v max_file=$max_file -v max_line=$max_line -v max_function=$max_function '
  FNR == 1 { begin = 0 }
  # Raw strings cannot be broken; lines beyond ASCII are longer in bytes than in columns.
  length($0) > max_line && !/R"\(|[\200-\377]/ { print FILENAME ":" FNR ": " length($0) " columns" }
  FNR == max_file + 1 { print FILENAME ": more than " max_file " lines" }
  # clang-format puts a free function between a line that starts in column 0 and a lone brace.
  /^[A-Za-z].*[({,]$|^[A-Za-z].*\) (const )?\{$/ && begin == 0 && !/^(namespace|struct|class|enum|extern|constexpr|const |static const)/ { begin = FNR; head = $0 }
  /^};?$/ || /^}  \/\// {
    if (begin && FNR - begin + 1 > max_function)
      print FILENAME ":" begin ": function of " FNR - begin + 1 " lines: " head
    begin = 0
  }' "${sources[@]}")

path_lines=$(cat launch/main.cpp launch/run/train.cpp lora/decoder/training_pass.cpp lora/decoder/block.cpp \
  lora/adapter/linear.cpp parallel/layer_scheduler.cpp | wc -l)
if [ "$path_lines" -gt $max_path ]; then
  found+=$'\n'"the newcomer's six files have $path_lines lines, more than $max_path"
fi
if [ -n "$found" ]; then
  printf 'over budget:\n%s\n' "$found" >&2
  exit 1
fi
