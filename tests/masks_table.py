#!/usr/bin/env python3
"""Writes the table of docs/masks.md: what `tessera tokenize --masks` learns of conversations,
beside transformers (golden/masks). Fails where they differ and explained.json does not say why.
Usage: masks_table.py TESSERA SHARED_DATA [--check]
With --check the page stays as it is, and the script fails where the table in it is another."""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/masks.md"
GOLDEN = json.loads((ROOT / "tests/golden/masks/masks.json").read_text())
EXPLAINED = json.loads((ROOT / "tests/golden/masks/explained.json").read_text())
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
MARKS = {"itself": "the template's", "trl": "TRL's", "ours": "ours"}


def fnv(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"


def byte_symbols():
    """GPT-2's printable stand-ins, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def write_tokenizer(folder, entry):
    """A token for each byte, and the special tokens of a template."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    vocab = {symbol: i for i, symbol in enumerate(byte_symbols())}
    added = [{"id": 256 + i, "content": token, "normalized": False, "special": True}
             for i, token in enumerate(entry["special"])]
    files = {
        "tokenizer.json": {
            "added_tokens": added, "pre_tokenizer": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "vocab": vocab, "merges": []}},
        "tokenizer_config.json": {"bos_token": entry["bos"], "eos_token": entry["ends"][0]},
        "generation_config.json": {"eos_token_id": [
            token["id"] for token in added if token["content"] in entry["ends"]]},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def learned_by_tessera(tessera, folder, template, title, tools):
    """The text and the spans in code points; None where the conversation is refused."""
    row = {"messages": GOLDEN["conversations"][title]}
    if tools and title.startswith("tool"):
        row["tools"] = GOLDEN["tools"]
    (folder / "row.json").write_text(json.dumps(row))
    run = subprocess.run(
        [tessera, "tokenize", "--tokenizer", folder, "--chat_template", template, "--messages",
         folder / "row.json", "--masks", "--text"], capture_output=True, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(GOLDEN["now"])})
    if run.returncode:
        return None
    text, spans = "", []
    for piece in json.loads(run.stdout):
        if piece["learned"]:
            spans.append([len(text), len(text) + len(piece["text"])])
        text += piece["text"]
    return text, spans


def difference(ours, golden):
    """In the words of explained.json; empty where there is none."""
    if golden is None or ours is None:
        return "" if ours is golden else "refused" if ours is None else "taken"
    text, spans = ours
    if fnv(text) != golden["published"]:
        raise SystemExit(f"another text than transformers renders:\n{text}")
    if golden["text"] != golden["published"]:
        return "" if [fnv(text[a:b]) for a, b in spans] == golden["texts"] else "other"
    if spans == golden["learned"]:
        return ""
    longer = [[begin, end + 1] for begin, end in spans]
    ended = all(text[end:end + 1] == "\n" for _, end in spans)
    return "line ends" if ended and longer == golden["learned"] else "other"


def reason(name, title):
    """Number and kind of what explains a case."""
    for number, row in enumerate(EXPLAINED.values(), 1):
        if title in row["cases"].get(name, {}):
            return str(number), row["how"]
    return "=", ""


def table(tessera, shared):
    titles = list(GOLDEN["conversations"])
    yield "| template | marks | " + " | ".join(title.replace("_", " ") for title in titles) + " |"
    yield "|---|---|" + "---|" * len(titles)
    for name, entry in GOLDEN["templates"].items():
        cells = [f"`{name}`", MARKS[entry["twin"]]]
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            write_tokenizer(folder, entry)
            for title in titles:
                golden = entry["cases"][title]
                ours = learned_by_tessera(
                    tessera, folder, shared / "templates" / f"{name}.jinja", title, entry["tools"])
                number, how = reason(name, title)
                found = difference(ours, golden)
                if found != how:
                    raise SystemExit(f"{name}, {title}: '{found}', but explained as '{how}'")
                cells.append("–" if ours is golden is None else number)
        yield "| " + " | ".join(cells) + " |"
    yield ""
    for number, (name, row) in enumerate(EXPLAINED.items(), 1):
        yield f"{number}. **{name}.** {row['why']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tessera")
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    made = before + BEGIN + "\n".join(table(options.tessera, options.shared)) + "\n" + END + after
    if options.check and made != page:
        raise SystemExit("the table of docs/masks.md is not current: tests/masks_table.py makes it")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
