#!/usr/bin/env python3
"""Writes rows/: small files of rows in every form that is read, and rows/rows.json: for each of
them the rows that Python's csv and json find in it, each with the line that it begins in, or its
number in an array.

Needs the program zstd. The standard library does the rest.
"""
import csv
import gzip
import io
import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "rows"
ROWS = [
    {"prompt": "Say \"hi\", then stop.", "completion": "hi"},
    {"prompt": "Zwei Zeilen:\nä, ö", "completion": "😀 {[}]\\"},
    {"prompt": "", "completion": "a\tb; c,\r\nd"},
    {"prompt": " spaces ", "completion": "'"},
]


def with_lines(text):
    """The rows of JSON lines with their lines."""
    lines = enumerate(text.split("\n"), 1)
    return [[number, json.loads(line)] for number, line in lines if line.strip()]


def json_lines():
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(ROWS)]
    return lines[0] + "\n\n" + lines[1] + "\r\n  \n" + lines[2] + "\n" + lines[3]


def table(rows, **dialect):
    out = io.StringIO(newline="")
    writer = csv.writer(out, **dialect)
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return out.getvalue()


def rows_of_table(text, delimiter):
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names, rows, line = None, [], 1
    for cells in reader:
        if cells and names:
            rows.append([line, dict(zip(names, cells, strict=True))])
        elif cells:
            names = cells
        line = reader.line_num + 1
    return rows


def random_rows(count):
    random.seed(7)
    letters = 'ab ",;\t\n\r\'é😀\\x'
    def cell():
        return "".join(random.choices(letters, k=random.choice([0, 1, 3, 9, 30])))
    return [{name: cell() for name in ("first", "second, of 3", "third")} for _ in range(count)]


def zstd(text):
    return subprocess.run(["zstd", "-q", "-c"], input=text, capture_output=True, check=True).stdout


def skippable(content):
    return struct.pack("<II", 0x184D2A53, len(content)) + content


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    expected = {}

    def write(name, content, rows):
        (FOLDER / name).write_bytes(content)
        expected[name] = rows

    text = json_lines()
    raw, rows = text.encode(), with_lines(text)
    write("lines.jsonl", raw, rows)
    write("mark.jsonl", b"\xef\xbb\xbf" + raw, rows)
    half = len(raw) // 2
    members = [gzip.compress(part, mtime=0) for part in (raw[:half], raw[half:], b"")]
    write("lines.jsonl.gz", b"".join(members) + bytes(100), rows)
    frames = zstd(raw[:half]) + skippable(b"nothing") + zstd(raw[half:])
    write("lines.jsonl.zst", skippable(b"") + frames, rows)
    write("little.jsonl", b"\xff\xfe" + text.encode("utf-16-le"), rows)
    write("big_unmarked.jsonl", text.encode("utf-16-be"), rows)
    numbered = [[number, row] for number, row in enumerate(ROWS, 1)]
    write("array.json", json.dumps(ROWS, indent=2).encode() + b"\n", numbered)
    write("short_array.json", json.dumps(ROWS, separators=(",", ":")).encode(), numbered)

    tables = {
        "table.csv": (ROWS, {"delimiter": ",", "lineterminator": "\r\n"}),
        "semicolons.csv": (ROWS, {"delimiter": ";", "lineterminator": "\n"}),
        "tabs.tsv": (ROWS, {"delimiter": "\t", "lineterminator": "\n\n"}),
        "cr.csv": (ROWS, {"delimiter": ",", "lineterminator": "\r", "quoting": csv.QUOTE_ALL}),
        "random.csv": (random_rows(60), {"delimiter": ";", "lineterminator": "\r\n"}),
    }
    for name, (content, dialect) in tables.items():
        text = table(content, **dialect)
        write(name, text.encode(), rows_of_table(text, dialect["delimiter"]))
    text = table(ROWS, delimiter=",", lineterminator="\n").rstrip("\n")
    rows = rows_of_table(text, ",")
    write("table.csv.gz", gzip.compress(b"\xef\xbb\xbf" + text.encode(), mtime=0), rows)
    write("wide.csv", b"\xfe\xff" + text.encode("utf-16-be"), rows)

    lines = ["Once upon a time", "", " indented, with \"quotes\"", "  ", "the end"]
    write("story.txt", "\r\n".join(lines).encode(),
          [[number, {"text": line}] for number, line in enumerate(lines, 1) if line.strip()])

    out = ",\n".join(f" {json.dumps(name)}: {json.dumps(rows, ensure_ascii=False)}"
                     for name, rows in expected.items())
    (FOLDER / "rows.json").write_text("{\n" + out + "\n}\n")


if __name__ == "__main__":
    main()
