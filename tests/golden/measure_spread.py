#!/usr/bin/env python3
"""How far apart are two correct runs? Repeats a golden training in ways that only reorder sums.

    python measure_spread.py --model DIR --data FILE --adapter-in DIR [--threads 1 2]

Against one thread and eager attention, each other combination prints the largest relative
difference of a step's loss and gradient norm, the relative L2 distance of the final update, and the
share of adapter elements that moved the other way. A tolerance below these numbers asks for luck.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import referee
import torch

HERE = pathlib.Path(__file__).resolve().parent


def run(args, folder, threads, attention):
    out = folder / f"{threads}_{attention}"
    command = [sys.executable, HERE / "train_reference.py", "--model", args.model]
    command += ["--data", args.data, "--adapter-in", args.adapter_in]
    command += ["--out", f"{out}.json", "--adapter-out", out]
    command += ["--threads", str(threads), "--attention", attention, "--base-name", "base"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads(pathlib.Path(f"{out}.json").read_text()), referee.read_adapter(out)


def flat(before, after):
    return torch.cat([(after[k].double() - before[k].double()).reshape(-1) for k in sorted(before)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--adapter-in", required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    before = referee.read_adapter(args.adapter_in)
    with tempfile.TemporaryDirectory() as folder:
        base = None
        for attention, threads in itertools.product(["eager", "sdpa"], args.threads):
            result, after = run(args, pathlib.Path(folder), threads, attention)
            update = flat(before, after)
            if base is None:
                base = result, update
                continue

            def worst(key):
                pairs = zip(base[0]["steps"], result["steps"])
                return max(abs(a[key] - b[key]) / abs(a[key]) for a, b in pairs)

            apart = ((update - base[1]).norm() / base[1].norm()).item()
            turned = (update * base[1] < 0).double().mean().item()
            print(
                f"{attention}, {threads} threads: loss {worst('loss'):.1e}, "
                f"grad_norm {worst('grad_norm'):.1e}, update {apart:.1e}, turned {turned:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
