#!/usr/bin/env python3
"""Writes docs/text.md: how fast Tessera tokenizes texts and renders chat templates, beside the
`tokenizers` package and Jinja2, and how fast it reads rows on one thread and on two.

    tests/bench/text_speed.py build/bench_text SHARED [PAGE]

needs tokenizers, transformers, Jinja2 and xz. SHARED has the folders tokenizers, datasets and
templates; PAGE is the file to write, docs/text.md by default. The sides take turns, so that a slow
spell of the machine meets both. There is no page when their results differ."""
import datetime
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when tokenizers is imported

import jinja2
import tokenizers
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROUNDS = 5
PASSES = 100  # over the conversations, in each round
BYTES_PER_FOLDER = 500_000
TEXT_KEYS = {"content", "value", "text", "instruction", "input", "output", "question", "answer"}
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")

TOKENIZERS = ["gpt2", "llama3", "qwen3", "llama2_from_model", "mistral_v3", "t5_small", "falcon",
              "deepseek_v4", "mistral_tekken", "phi3"]
TEMPLATES = {
    "ChatML": "chatml",
    "Qwen3-8B": "Qwen-Qwen3-8B",
    "Llama-3.1": "meta-llama-Llama-3.1-8B-Instruct",
    "Mistral-Small-3.2": "mistralai-Mistral-Small-3.2-24B-Instruct-2506",
    "gpt-oss": "openai-gpt-oss-20b",
    "Phi-4-mini": "microsoft-Phi-4-mini-instruct",
}

PAGE = """\
# Tokenization and rendering: measured

Training, `tokenize` and `generate` render conversations and tokenize texts. This page compares the
speed of both with the packages that transformers uses. `tests/bench/text_speed.py` wrote it on
{date}.

- machine: {machine}
- versions: {versions}
- command: `tests/bench/text_speed.py {command}`

The two sides take turns, for {rounds} rounds, on one thread each. The tables show the median of the
rounds and, in brackets, the least and the greatest. A ratio above 1 means that Tessera is faster.
The results of both sides are the same, to the last token and byte.

## Tokenization

A round encodes {texts:,} texts, one in each call, with a tokenizer that was just loaded. The
loading is not counted. The texts have {megabytes:.1f} MB (10^6 bytes), and {ascii:.1f} % of
their characters are ASCII. They are the contents of public data sets: instructions, conversations,
school mathematics, a play and SQL. On both sides a call also finds where in the text each token
begins; the package's `encode` makes the text of each token, too.

| tokenizer | tokens | Tessera, MB/s | tokenizers, MB/s | ratio |
|---|---|---|---|---|
{tokenization}

## Rendering

A render makes the text of one short conversation; no `tools` are given. Tessera's time begins with
parsed JSON, so that it includes the making of the template's values. Jinja2's time is that of the
compiled template alone. What transformers does to the messages before is not counted. Each template
renders those of {conversations} conversations that it does not refuse.

| template | conversations | mean bytes of a text | Tessera, us | Jinja2, us | ratio |
|---|---|---|---|---|---|
{rendering}

## Reading rows

A run reads the rows of its data sets, renders them, tokenizes them and finds what is learned, on
`threads` threads. The tokenizer is qwen3's, and the template of the conversations is ChatML. The
samples are the same with each number of threads.

| rows | number | 1 thread, rows/s | 2 threads, rows/s | ratio |
|---|---|---|---|---|
{reading}
"""


def fail(message):
    sys.exit(f"text_speed.py: {message}")


def texts_of(value, key=None):
    """The texts in a row that a tokenizer would see: those of TEXT_KEYS, at any depth."""
    if isinstance(value, str):
        return [value] if key in TEXT_KEYS and value else []
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item, key)]
    if isinstance(value, dict):
        return [text for name, item in value.items() for text in texts_of(item, name)]
    return []


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return [{"text": paragraph} for paragraph in text.split("\n\n")]


def data_texts(folder):
    """The first BYTES_PER_FOLDER of every folder of data, so that none outweighs the others."""
    texts = []
    for kind in sorted(folder.iterdir()):
        left = BYTES_PER_FOLDER
        for text in (t for path in sorted(kind.iterdir()) for t in texts_of(rows_of(path))):
            left -= len(text.encode())
            if left < 0:
                break
            texts.append(text)
    return texts


def unpacked(folder, work):
    """The tokenizer.json of a folder, which may be packed."""
    path = folder / "tokenizer.json"
    if path.exists():
        return path
    out = work / f"{folder.name}.json"
    with open(out, "wb") as file:
        subprocess.run(["xz", "-dc", folder / "tokenizer.json.xz"], stdout=file, check=True)
    return out


def run(program, *words):
    """Seconds and results of bench_text."""
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        fail(done.stderr.strip())
    line = json.loads(done.stdout)
    return line["seconds"], line["results"]


def tokenize(path, texts):
    """Seconds and results of the package; what is measured is what bench_text measures."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    start = time.perf_counter()
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return time.perf_counter() - start, ids


def prepared(message):
    """A message as transformers gives it to a template: no nulls, all names of its reasoning."""
    out = {key: value for key, value in message.items() if value is not None}
    reasoning = next((out[key] for key in REASONING_KEYS if key in out), None)
    if reasoning is None:
        return out
    return {"thinking": reasoning, **out, "reasoning_content": reasoning}


def render_once(template, messages, variables):
    return template.render(messages=messages, tools=None, documents=None,
                           add_generation_prompt=False, **variables)


def render(template, conversations, variables):
    """Seconds and results of Jinja2, as bench_text's."""
    def one_pass():
        return [render_once(template, messages, variables) for messages in conversations]

    one_pass()
    start = time.perf_counter()
    for _ in range(PASSES):
        texts = one_pass()
    return time.perf_counter() - start, texts


def is_rendered(template, messages, variables):
    try:
        render_once(template, messages, variables)
        return True
    except Exception:  # the template's own refusal, or a key that it misses
        return False


def compare(what, first, second):
    """The seconds of each side's rounds, and the results, which have to be the same."""
    seconds = [], []
    for _ in range(ROUNDS):
        results = []
        for side, measure in enumerate((first, second)):
            took, result = measure()
            seconds[side].append(took)
            results.append(result)
        if results[0] != results[1]:
            index = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1],
                                                       zip(*results)))
            fail(f"{what}: the results differ from number {index} on")
    return *seconds, results[0]


def spread(values, digits):
    low, middle, high = (f"{v:,.{digits}f}" for v in (min(values), statistics.median(values),
                                                     max(values)))
    return f"{middle} ({low}–{high})"


def tokenization_rows(program, shared, texts, work):
    texts_path = work / "texts.json"
    texts_path.write_text(json.dumps(texts), encoding="utf-8")
    size = sum(len(text.encode()) for text in texts)
    for name in TOKENIZERS:
        path = unpacked(shared / "tokenizers" / name, work)
        ours, theirs, ids = compare(name, lambda: run(program, "tokenize", path, texts_path),
                                    lambda: tokenize(path, texts))
        rates = [[size / 1e6 / s for s in seconds] for seconds in (ours, theirs)]
        ratio = statistics.median(theirs) / statistics.median(ours)
        yield (f"| {name} | {sum(map(len, ids)):,} | {spread(rates[0], 1)} "
               f"| {spread(rates[1], 1)} | {ratio:.1f} |")


def rendering_rows(program, shared, golden, work):
    variables = golden["special_tokens"]
    tokenizer = shared / "tokenizers" / "gpt2" / "tokenizer.json"  # lends the templates no tokens
    for name, file in TEMPLATES.items():
        path = shared / "templates" / f"{file}.jinja"
        template = _compile_jinja_template(path.read_text(encoding="utf-8"))
        pairs = [(messages, [prepared(m) for m in messages])
                 for messages in golden["conversations"].values()]
        pairs = [pair for pair in pairs if is_rendered(template, pair[1], variables)]
        input_path = work / "conversations.json"
        input_path.write_text(json.dumps({"variables": variables,
                                          "conversations": [raw for raw, _ in pairs]}),
                              encoding="utf-8")
        ours, theirs, texts = compare(
            name, lambda: run(program, "render", tokenizer, path, input_path, PASSES),
            lambda: render(template, [ready for _, ready in pairs], variables))
        each = [[s * 1e6 / PASSES / len(pairs) for s in seconds] for seconds in (ours, theirs)]
        ratio = statistics.median(theirs) / statistics.median(ours)
        size = sum(len(text.encode()) for text in texts) / len(texts)
        yield (f"| {name} | {len(pairs)} | {size:.0f} | {spread(each[0], 1)} "
               f"| {spread(each[1], 1)} | {ratio:.1f} |")


def reading_rows(program, shared, texts, work):
    questions = rows_of(shared / "datasets" / "gsm8k" / "train.jsonl")
    conversations = [{"messages": [{"role": "user", "content": row["question"]},
                                   {"role": "assistant", "content": row["answer"]}]}
                     for row in questions]
    kinds = {"texts": [{"text": text} for text in texts], "conversations": conversations}
    for name, rows in kinds.items():
        path = work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        words = ["rows", shared / "tokenizers" / "qwen3", "chatml", path]
        one, two, _ = compare(name, lambda: run(program, *words, 1),
                              lambda: run(program, *words, 2))
        rates = [[len(rows) / s for s in seconds] for seconds in (one, two)]
        ratio = statistics.median(one) / statistics.median(two)
        yield (f"| {name} | {len(rows):,} | {spread(rates[0], 0)} | {spread(rates[1], 0)} "
               f"| {ratio:.2f} |")


def machine():
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), "CPU")
    return f"{model}, {os.cpu_count()} CPUs"


def main():
    if len(sys.argv) not in (3, 4):
        fail("usage: text_speed.py BENCH_TEXT SHARED [PAGE]")
    program, shared = sys.argv[1], pathlib.Path(sys.argv[2])
    page = pathlib.Path(sys.argv[3]) if len(sys.argv) == 4 else ROOT / "docs" / "text.md"
    texts = data_texts(shared / "datasets")
    golden = json.loads((shared / "templates" / "golden_renders_2.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        tokenization = list(tokenization_rows(program, shared, texts, work))
        rendering = list(rendering_rows(program, shared, golden, work))
        reading = list(reading_rows(program, shared, texts, work))
    joined = "".join(texts)
    page.write_text(PAGE.format(
        date=datetime.date.today(), machine=machine(), command=" ".join(sys.argv[1:3]),
        versions=f"tokenizers {tokenizers.__version__}, Jinja2 {jinja2.__version__}, transformers "
                 f"{transformers.__version__}, Python {platform.python_version()}",
        rounds=ROUNDS, texts=len(texts), megabytes=len(joined.encode()) / 1e6,
        ascii=100 * sum(c < "\x80" for c in joined) / len(joined),
        conversations=len(golden["conversations"]), tokenization="\n".join(tokenization),
        rendering="\n".join(rendering), reading="\n".join(reading)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
