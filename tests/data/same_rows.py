#!/usr/bin/env python3
"""The same rows in files of every kind, and in shapes of every kind, train to the same bytes.
Usage: same_rows.py TESSERA WRITE_MODEL

Parquet is left out, with a line, where the program reads none or Python has no pyarrow."""
import csv
import gzip
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tiny_model import alpaca_rows, lines, write_model

SETTINGS = ["sequence_len=64", "micro_batch_size=2", "global_batch_size=4", "max_steps=3",
            "learning_rate=1e-2", "sample_packing=true", "chat_template=tokenizer_default"]
WRITE_PARQUET = """
import json, sys, pyarrow, pyarrow.parquet
table = pyarrow.Table.from_pylist(json.load(sys.stdin))
pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=7)
"""


def write_table(file, rows, delimiter):
    with open(file, "w", newline="") as out:
        table = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def write_parquet(tessera, file, rows):
    """By the pyarrow that the program was built with, if it was."""
    doctor = subprocess.run([tessera, "doctor"], capture_output=True, text=True, check=True).stdout
    if re.search("^parquet +no", doctor, re.MULTILINE):
        return print("parquet left out: this build reads none")
    python = pathlib.Path(os.environ.get("VIRTUAL_ENV", sys.prefix)) / "bin/python3"
    done = subprocess.run([python, "-c", WRITE_PARQUET, file], input=json.dumps(rows), text=True,
                          capture_output=True)
    if done.returncode != 0:
        print(f"parquet left out: {done.stderr.strip().splitlines()[-1]}")


def kinds_of_files(tessera, folder, rows):
    """Of alpaca rows; each as (what, the data set of the config)."""
    (folder / "rows.jsonl").write_text(lines(rows))
    (folder / "array.json").write_text(json.dumps(rows, indent=1))
    (folder / "marked.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(rows).encode())
    (folder / "wide.jsonl").write_bytes(lines(rows).replace("\n", "\r\n").encode("utf-16"))
    with gzip.open(folder / "rows.jsonl.gz", "wt") as out:
        out.write(lines(rows))
    write_table(folder / "rows.csv", rows, ",")
    write_table(folder / "rows.tsv", rows, "\t")
    with open(folder / "rows.csv", "rb") as table, gzip.open(folder / "table.csv.gz", "wb") as out:
        out.write(table.read())
    write_parquet(tessera, folder / "rows.parquet", rows)
    parts = folder / "parts"
    parts.mkdir()
    (parts / "train-0.jsonl").write_text(lines(rows[:11]))
    (parts / "train-1.jsonl").write_text(lines(rows[11:]))
    (parts / "test-0.jsonl").write_text(lines(rows[:1]))
    renamed = [{"q": row["instruction"], "more": row["input"], "a": row["output"]} for row in rows]
    (folder / "renamed.jsonl").write_text(lines(renamed))
    for name in ("rows.jsonl", "array.json", "marked.jsonl", "wide.jsonl", "rows.jsonl.gz",
                 "rows.csv", "rows.tsv", "table.csv.gz", "rows.parquet", "parts"):
        if (folder / name).exists():
            yield name, f"{{path: {folder / name}, type: alpaca}}"
    yield "a glob", f"{{path: '{parts}/train-*.jsonl', type: alpaca}}"
    yield "a slice", f"{{path: {folder}/rows.jsonl, type: alpaca, split: 'train[:30]+train[30:]'}}"
    yield "other names", (f"{{path: {folder}/renamed.jsonl, type: alpaca, field_instruction: q, "
                          "field_input: more, field_output: a}")


def shapes_of_conversations(tessera, folder, rows):
    talks = [[("user", row["instruction"]), ("assistant", row["output"]),
              ("user", row["output"]), ("assistant", row["instruction"])] for row in rows]
    spoken = {"user": "human", "assistant": "gpt"}

    def messages(talk):
        return [{"role": role, "content": content} for role, content in talk]

    def spelt(talk):
        return [{"from": spoken[role], "value": content} for role, content in talk]

    (folder / "messages.jsonl").write_text(lines({"messages": messages(t)} for t in talks))
    (folder / "sharegpt.jsonl").write_text(lines({"conversations": spelt(t)} for t in talks))
    (folder / "dialog.json").write_text(json.dumps(
        [{"dialog": [{"who": role, "said": content} for role, content in t]} for t in talks]))
    write_table(folder / "cells.csv", [{"messages": json.dumps(messages(t))} for t in talks], ",")
    write_parquet(tessera, folder / "messages.parquet", [{"messages": messages(t)} for t in talks])
    for name in ("messages.jsonl", "sharegpt.jsonl", "cells.csv", "messages.parquet"):
        if (folder / name).exists():
            yield name, f"{{path: {folder / name}, type: chat_template}}"
    yield "other names", (f"{{path: {folder}/dialog.json, type: chat_template, field_messages: "
                          "dialog, message_property_mappings: {role: who, content: said}}")


def adapter(tessera, folder, dataset):
    command = [tessera, "train", folder / "config.yml", f"datasets=[{dataset}]",
               f"output_dir={folder}/run", "overwrite_output_dir=true", *SETTINGS]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{dataset}: exit code {done.returncode}\n{done.stderr}")
    return hashlib.md5((folder / "run/adapter_model.safetensors").read_bytes()).hexdigest()


def main():
    tessera, model_program = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        write_model(model_program, folder)
        rows = alpaca_rows(40)
        wrong = 0
        for kinds in (kinds_of_files, shapes_of_conversations):
            first = None
            for what, dataset in kinds(tessera, folder, rows):
                found = adapter(tessera, folder, dataset)
                first = first or found
                wrong += found != first
                print(f"{what:20}{found}{'' if found == first else '  WRONG'}", flush=True)
        sys.exit(f"{wrong} differ" if wrong else 0)


if __name__ == "__main__":
    main()
