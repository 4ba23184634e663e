#!/usr/bin/env python3
"""A data set that is larger than the memory it is given: what reading, tokenizing and training on
it take. Writes FOLDER/rows.jsonl of GIB gibibytes (made-up alpaca rows, the same every time), fills
the cache of tokens by `tessera data`, then trains one step from the warm cache.
Usage: large_data.py TESSERA MODEL FOLDER [GIB]

Prints seconds, and the most memory (resident, of which pages of files are a part) beside what
`tessera plan` says of the model; exits with 1 where that is more than 300 MiB or the first step of
a warm start ends after a minute."""
import json
import os
import pathlib
import random
import subprocess
import sys
import time

WORDS = """
the of and to in is that it was for on are as with his they at be this have from or one had by
word but not what all were we when your can said there use an each which she do how their if will
up other about out many then them these so some her would make like him into time has look two
more write go see number no way could people my than first water been call who oil its now find
long down day did get come made may part over new sound take only little work know place year live
me back give most very after thing our just name good sentence man think say great where help
through much before line right too mean old any same tell boy follow came want show also around
form three small
""".split()

MOST_MIB, MOST_SECONDS = 300, 60
SETTINGS = ["sequence_len=512", "micro_batch_size=1", "gradient_accumulation_steps=1",
            "max_steps=1", "overwrite_output_dir=true", "device=cpu"]


def write_rows(file, size):
    """Rows of about 800 bytes, of common words."""
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(10, 150))) for _ in range(5000)]
    written, row = 0, 0
    with open(file, "w") as out:
        while written < size:
            line = json.dumps({"instruction": f"{row}: {texts[row * 7 % 5000]}",
                               "output": texts[row * 13 % 5000]}) + "\n"
            out.write(line)
            written += len(line)
            row += 1
    print(f"{written / 2**30:.2f} GiB, {row:,} rows")


def run(*command):
    """Its stdout, seconds, and the most memory in MiB."""
    begin = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"exit code {child.returncode}: {' '.join(map(str, command))}")
    return out.decode(), time.monotonic() - begin, usage.ru_maxrss / 1024


def main():
    tessera, model, folder = map(pathlib.Path, sys.argv[1:4])
    size = float(sys.argv[4] if len(sys.argv) > 4 else 5) * 2**30
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows, size)
    config = folder / "run.yml"
    config.write_text(f"base_model: {model.resolve()}\n"
                      f"datasets: [{{path: {rows.resolve()}, type: alpaca}}]\n"
                      f"dataset_prepared_path: {folder.resolve()}/tokens\n"
                      f"output_dir: {folder.resolve()}/run\n")
    _, seconds, memory = run(tessera, "data", config, "--json", *SETTINGS)
    print(f"tokenized in {seconds:.0f} s, at most {memory:.0f} MiB")
    _, seconds, memory = run(tessera, "data", config, "--json", *SETTINGS)
    print(f"from the cache: {seconds:.1f} s, at most {memory:.0f} MiB")
    plan = json.loads(run(tessera, "plan", "--json", config, *SETTINGS)[0])["peak"] / 2**20
    _, seconds, memory = run(tessera, "train", config, *SETTINGS)
    wrong = memory - plan > MOST_MIB or seconds > MOST_SECONDS
    print(f"one step from the cache: {seconds:.1f} s from start to end; at most {memory:.0f} MiB, "
          f"of which the model's plan has {plan:.0f}: {memory - plan:.0f} beside it"
          f"{'  WRONG' if wrong else ''}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
