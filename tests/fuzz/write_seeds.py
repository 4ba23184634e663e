#!/usr/bin/env python3
"""Writes what fuzzing begins with: write_seeds.py GOLDEN OUT. Each snippet of a template with its
variables, each small tokenizer.json, each SentencePiece model and each file of rows of the goldens
is one file; and so is each answer of a model hub below, and each GGUF file."""
import json
import pathlib
import shutil
import struct
import sys


COMMIT, SHA256 = "c" * 40, "5" * 64
HUB = [  # the first letter chooses what is read, see hub_fuzz.cpp
    "L" + json.dumps({"sha": COMMIT, "gated": False, "siblings": [
        {"rfilename": "config.json", "size": 7, "blobId": COMMIT},
        {"rfilename": "a/w.safetensors", "size": 9, "blobId": COMMIT,
         "lfs": {"sha256": SHA256, "size": 9, "pointerSize": 130}}]}),
    "L" + json.dumps({"sha": COMMIT, "siblings": [{"rfilename": "../up"}, {"rfilename": "b"}]}),
    "K" + json.dumps({"format_version": 1, "files": {
        "a/b": {"size": 1, "blob_id": COMMIT},
        "c": {"size": 2, "blob_id": "", "lfs_sha256": SHA256, "lfs_size": 2}}}),
    "HHTTP/1.1 302 Found\r\nLocation: /x\r\nX-Linked-Etag: \"a\"\r\nX-Linked-Size: 9\r\n\r\n",
    "HHTTP/2 206\r\ncontent-range: bytes 5-9/10\r\nETag: W/\"a\"\r\nretry-after: 7\r\n"
    "RateLimit: \"api\";r=0;t=155\r\nX-Error-Code: GatedRepo\r\n",
    "hf:org/name@refs/pr/1", "org/name/q4/m-00001-of-00002.gguf@v1"]

FOLDERS = "jinja", "tokenizer", "sentencepiece", "hub", "rows", "gguf", "gguf_out"

# The byte that tells rows_fuzz the kind, by how a file is called.
ROWS = {".csv": 0, ".tsv": 0, ".json": 1, ".jsonl": 1, ".gz": 2, ".zst": 3, ".txt": 4}
NAMES = ["train[:50%]+test[-10:]\ntrain[[]:50%]*", "data/train-00000-of-00003.csv\n**/*-[0-9]*.?s*"]


def main():
    golden, out = map(pathlib.Path, sys.argv[1:])
    folders = {name: out / name for name in FOLDERS}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    golden_jinja = json.loads((golden / "jinja/expressions.json").read_text())
    variables = json.dumps(golden_jinja["variables"])
    for number, snippet in enumerate(golden_jinja["snippets"]):
        (folders["jinja"] / str(number)).write_text(snippet["template"] + "\0" + variables)
    for path in sorted((golden / "tokenizer/kinds").glob("*.json")):
        tokenizer = json.loads(path.read_text()).get("tokenizer")
        if tokenizer:
            (folders["tokenizer"] / path.name).write_text(json.dumps(tokenizer))
    for name in ("byte_level", "byte_fallback"):
        shutil.copy(golden / f"tokenizer/{name}.json", folders["tokenizer"])
    for path in sorted((golden / "tokenizer/vocabularies").glob("*.model")):
        shutil.copy(path, folders["sentencepiece"])
    for path in sorted((golden / "rows").iterdir()):
        (folders["rows"] / path.name).write_bytes(bytes([ROWS[path.suffix]]) + path.read_bytes())
    for number, names in enumerate(NAMES):
        (folders["rows"] / f"names{number}").write_bytes(b"\x05" + names.encode())
    for path in sorted((golden / "gguf").glob("*.gguf")):
        shutil.copy(path, folders["gguf"])
    for kind in range(11):  # the type of gguf_out_fuzz.cpp, the name's length, the name, floats
        floats = [((i * 37) % 101 - 50) / 64 for i in range(512)]
        (folders["gguf_out"] / str(kind)).write_bytes(
            bytes([kind, 4]) + b"name" + struct.pack("<512f", *floats))
    for number, seed in enumerate(HUB):
        (folders["hub"] / str(number)).write_text(seed)


if __name__ == "__main__":
    main()
