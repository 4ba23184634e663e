#!/usr/bin/env python3
"""Who is nearer to float64, Tessera or transformers + PEFT + bitsandbytes?

    python compare_with_float64.py --tessera build/tessera [--adapters N] NAME=MODEL_DIR...

NAME is a folder beside this file with data.jsonl, golden.json (the peer's float32 run) and
golden_float64.json. Tessera trains the same eight steps here. The table gives the largest relative
difference of a step's loss and gradient norm to float64, and the distance of the final update (L2,
divided by the update's own; estimated from its 64 projections, standard error 9 %).

With --adapters N all three trainings run here, from N initial adapters of which the golden's is the
first, and the table gives the smallest and the largest distance: what rounding does by chance.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import referee

HERE = pathlib.Path(__file__).resolve().parent
PEER = "transformers, PEFT, bitsandbytes"


def golden(name, file):
    return json.loads((HERE / name / file).read_text())


def run_tessera(program, name, model, folder):
    """The steps and the update's summary, in the form of a golden."""
    data = json.dumps([{"path": str(HERE / name / "data.jsonl"), "type": "tokenized"}])
    settings = [f"base_model={model}", f"datasets={data}", f"output_dir={folder}/out"]
    settings.append(f"lora_model_dir={folder}/initial")
    command = [program, "train", HERE / "eight_steps.yml", *settings]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    lines = (folder / "out" / "metrics.jsonl").read_text().splitlines()
    before, after = (referee.read_adapter(folder / part) for part in ("initial", "out"))
    steps = [json.loads(line) for line in lines]
    return {"steps": steps, "adapter": referee.update_summary(before, after)}


def run_reference(script, name, model, folder):
    out = folder / f"{script}.json"
    command = [sys.executable, HERE / script, "--model", model, "--out", out]
    command += ["--data", HERE / name / "data.jsonl"]
    command += ["--adapter-in", folder / "initial", "--adapter-out", folder / script]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def distances(run, exact):
    """Of loss, gradient norm and update, each relative."""

    def worst(key):
        pairs = zip(run["steps"], exact["steps"], strict=True)
        return max(abs(a[key] - b[key]) / abs(b[key]) for a, b in pairs)

    ours, theirs = run["adapter"]["projections"], exact["adapter"]["projections"]
    update = math.dist(ours, theirs) / math.sqrt(len(ours)) / exact["adapter"]["update_l2"]
    return worst("loss"), worst("grad_norm"), update


def cpu():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("model name"))


def compare(args, name, model, number):
    """The distances of Tessera and of the peer, from initial adapter `number`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        adapter = referee.initial_adapter(model, 1234 + (number << 20))
        referee.write_adapter(folder / "initial", adapter, "")
        ours = run_tessera(args.tessera.resolve(), name, model, folder)
        if args.adapters == 1:
            exact, peer = golden(name, "golden_float64.json"), golden(name, "golden.json")
        else:
            exact = run_reference("train_reference_float64.py", name, model, folder)
            peer = run_reference("train_reference.py", name, model, folder)
    return distances(ours, exact), distances(peer, exact)


def span(values):
    return " to ".join(f"{x:.1e}" for x in sorted({min(values), max(values)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tessera", required=True, type=pathlib.Path)
    parser.add_argument("--adapters", type=int, default=1)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL_DIR")
    args = parser.parse_args()
    print("| model | float32 run | loss | gradient norm | update |\n|---|---|---|---|---|")
    for name, model in (text.split("=", 1) for text in args.models):
        pairs = [compare(args, name, model, number) for number in range(args.adapters)]
        for who, found in zip(("Tessera", PEER), zip(*pairs)):
            print(f"| {name} | {who} |", " | ".join(map(span, zip(*found))), "|", flush=True)
    versions = ", ".join(f"{key} {value}" for key, value in referee.versions().items())
    print(f"\n{cpu()}; {versions}")


if __name__ == "__main__":
    main()
