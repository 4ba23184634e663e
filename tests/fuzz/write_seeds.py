#!/usr/bin/env python3
"""Writes what fuzzing begins with: write_seeds.py GOLDEN OUT. Each snippet of a template with its
variables, each small tokenizer.json and each SentencePiece model of the goldens is one file."""
import json
import pathlib
import shutil
import sys


def main():
    golden, out = map(pathlib.Path, sys.argv[1:])
    folders = {name: out / name for name in ("jinja", "tokenizer", "sentencepiece")}
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


if __name__ == "__main__":
    main()
