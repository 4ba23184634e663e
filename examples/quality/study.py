#!/usr/bin/env python3
"""Trains and measures what report.py prints; run.sh starts it, with TESSERA_BUILD as the folder of
the programs. Every finished measurement is a file under OUTPUT/results that says how it was made,
so that a study which was stopped goes on."""
import argparse
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
import tasks
import tiny_model

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Where a base comes from, and the keys of the config that make it: float16 is the model itself.
FORMATS = {
    "16": ("float16", {"adapter": "lora"}),
    "int8": ("int8", {"adapter": "lora"}),
    "nf4": ("float16", {"adapter": "qlora", "bnb_4bit_quant_type": "nf4",
                        "bnb_4bit_use_double_quant": False}),
    "nf4_dq": ("float16", {"adapter": "qlora", "bnb_4bit_quant_type": "nf4",
                           "bnb_4bit_use_double_quant": True}),
    "fp4": ("float16", {"adapter": "qlora", "bnb_4bit_quant_type": "fp4",
                        "bnb_4bit_use_double_quant": False}),
    "int4": ("int4", {"adapter": "lora"}),
}
# Models by name: the script that gets the file, the file, and the learning rate.
MODELS = {
    "smollm2": ("launch/get_smollm2.sh", "model.gguf", 1e-3),
    "gemma3_270m": ("launch/get_gemma3_270m.sh", "gemma-3-270m-q4_k_m.gguf", 5e-4),
}
TINY = "tiny"
SETTINGS = {"bnb_4bit_compute_dtype": "float32", "lora_r": 16, "lora_alpha": 32,
            "sequence_len": 128, "micro_batch_size": 1, "global_batch_size": 1, "num_epochs": 1,
            "warmup_ratio": 0.05, "device": "cpu", "overwrite_output_dir": True,
            "logging_steps": 1000}
# Rows to learn and questions of a task.
SIZES = {"numbers": (160, 80), "orders": (80, 50)}
SMALL_SIZES = {"numbers": (8, 4), "orders": (4, 2)}
SMALL_SETTINGS = {"sequence_len": 256}  # a token is a byte
# Runs that must end in the adapter of the first, to the bit: ranks, and other keys. Last the one
# that must not.
FOUR_STEPS = {"global_batch_size": 2, "max_steps": 4, "gradient_checkpointing": False}
PAGED = {"optimizer": "paged_adamw_32bit", "optimizer_page_budget": "1MiB"}
SAME = {
    "activations kept, state in memory": (1, {}),
    "activations recomputed": (1, {"gradient_checkpointing": True}),
    "activations offloaded": (1, {"gradient_checkpointing": "offload"}),
    "state paged, 1 MiB of it resident": (1, PAGED),
    "2 ranks, half of the base each": (2, {"sharding": "full"}),
    "2 ranks, the whole base each": (2, {"sharding": "replicate"}),
    "2 ranks, half of the base each, recomputed, paged":
        (2, {"sharding": "full", "gradient_checkpointing": True, **PAGED}),
    "8-bit state": (1, {"optimizer": "adamw_8bit"}),
}


def run(command, **environment):
    """Its stdout, and the most memory that it had, in bytes; with ranks, that mpirun had."""
    command = list(map(str, command))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
        child = subprocess.Popen(command, stdout=out, stderr=talk, stdin=subprocess.DEVNULL,
                                 env={**os.environ, **environment})
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # the study is stopped
            child.terminate()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        if child.returncode != 0:
            sys.exit(f"study: exit code {child.returncode}: {' '.join(command)}\n"
                     f"{talk.read().decode(errors='replace')}")
        return out.read().decode(), usage.ru_maxrss * 1024


def sha256(file):
    digest = hashlib.sha256()
    with open(file, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Study:
    def __init__(self, options):
        self.small = options.small
        self.seeds = range(1, options.seeds + 1)
        self.models = options.models
        self.output = options.output
        build = pathlib.Path(os.environ["TESSERA_BUILD"])
        self.tessera, self.rounder = build / "tessera", build / "bench_round_weights"
        self.sizes = SMALL_SIZES if self.small else SIZES
        self.settings = {**SETTINGS, **(SMALL_SETTINGS if self.small else {})}
        self.jobs = self.plan()

    def plan(self):
        """What there is to measure, each with what names it, in the order in which it is done."""
        jobs = [(("errors", "normal"), self.measure_normal)]
        for model in self.models:
            jobs.append((("errors", model), lambda m=model: self.measure_errors(m)))
        first = self.models[0]
        if not shutil.which("mpirun"):
            print("study: there is no mpirun; 2 ranks are left out", file=sys.stderr)
        jobs += [(("same", first, str(i)), lambda n=name: self.train_same(first, n))
                 for i, name in enumerate(SAME) if SAME[name][0] == 1 or shutil.which("mpirun")]
        # With the first seed every table is there, so that a study that is stopped early says most.
        for seed, model, task in itertools.product(self.seeds, self.models, self.sizes):
            if seed == self.seeds[0]:
                jobs += [((model, task, name, "before"),
                          lambda m=model, t=task, f=name: self.evaluate(m, t, f, None))
                         for name in FORMATS]
            jobs += [((model, task, name, f"seed{seed}"),
                      lambda m=model, t=task, f=name, s=seed: self.train(m, t, f, s))
                     for name in FORMATS]
        return jobs

    def result_file(self, key):
        return self.output / "results" / pathlib.Path(*map(report.short_name, key[:-1])) / (
            report.short_name(key[-1]) + ".json")

    def result(self, key):
        """What is there, if it was made with these settings."""
        try:
            stored = json.loads(self.result_file(key).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return stored if stored["made_with"] == self.made_with(key) else None

    def made_with(self, key):
        """Everything that decides a measurement but the programs and the models' files."""
        settings = {"settings": self.settings, "sizes": self.sizes}
        if key[0] == "errors":
            settings = {}
        elif key[0] == "same":
            settings["run"] = [FOUR_STEPS, list(SAME.items())[int(key[2])]]
        else:
            settings["run"] = [FORMATS[key[2]], self.learning_rate(key[0])]
        return json.loads(json.dumps(settings))

    def learning_rate(self, model):
        return MODELS[model][2] if model in MODELS else MODELS["smollm2"][2]

    def complete(self):
        """Measures what is missing."""
        missing = [(key, job) for key, job in self.jobs if self.result(key) is None]
        print(f"study: {len(self.jobs)} measurements, {len(missing)} of them to make; results in "
              f"{self.output}", file=sys.stderr)
        begin = time.monotonic()
        for i, (key, job) in enumerate(missing):
            values = job()
            file = self.result_file(key)
            file.parent.mkdir(parents=True, exist_ok=True)
            whole = file.with_suffix(".part")
            whole.write_text(json.dumps({"made_with": self.made_with(key), **values}, indent=1))
            whole.rename(file)
            left = (time.monotonic() - begin) / (i + 1) * (len(missing) - i - 1)
            print(f"[{i + 1}/{len(missing)}] {' '.join(key)}: {short(values)}; "
                  f"ETA {int(left / 60)}m{int(left % 60):02d}s", file=sys.stderr, flush=True)

    # The models.
    def source(self, model):
        if model == TINY:
            folder = self.output / "models" / TINY / "source"
            if not folder.exists():
                tiny_model.write(folder)
            return folder
        if model not in MODELS:
            return pathlib.Path(model)
        script, name, _ = MODELS[model]
        file = self.output / "models" / model / name
        if not file.exists():
            print(f"study: {script}", file=sys.stderr)
            run([REPOSITORY / script, file.parent])
        return file

    def base(self, model, kind):
        """The model in float16, with its linears rounded where the kind says so."""
        folder = self.output / "models" / report.short_name(model) / kind
        if not folder.exists():
            origin = self.source(model) if kind == "float16" else self.base(model, "float16")
            folder.parent.mkdir(parents=True, exist_ok=True)
            run([self.rounder, "write", origin, folder, kind])
        return folder

    # The measurements.
    def measure_normal(self):
        return json.loads(run([self.rounder, "errors", "normal"])[0])

    def measure_errors(self, model):
        values = json.loads(run([self.rounder, "errors", self.base(model, "float16")])[0])
        values["source"] = json.loads(run([self.tessera, "inspect", self.source(model),
                                           "--json"])[0])
        return values

    def rows(self, task, seed):
        count = self.sizes[task][seed == tasks.QUESTIONS_SEED]
        file = self.output / "rows" / f"{task}-{count}-seed{seed}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        tasks.write(file, task, seed, count)
        return [{"path": str(file), "type": "prompt_completion"}]

    def config(self, model, name, rows, folder, **keys):
        kind, format_keys = FORMATS[name]
        config = {"base_model": str(self.base(model, kind)), **self.settings, **format_keys,
                  "learning_rate": self.learning_rate(model), "datasets": rows,
                  "output_dir": str(folder / "run"), **keys}
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.yml"
        file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        return file

    def evaluate(self, model, task, name, trained):
        """Of the questions; `trained` is the folder of a run, or None for the base alone."""
        with tempfile.TemporaryDirectory(dir=self.output) as scratch:
            file = self.config(model, name, self.rows(task, tasks.QUESTIONS_SEED),
                               trained or pathlib.Path(scratch))
            adapter = [] if trained else ["adapter=none"]
            values = json.loads(run([self.tessera, "eval", file, *adapter])[0])
        return {key: values[key] for key in ("loss", "exact_match", "tokens", "samples")}

    def train(self, model, task, name, seed):
        folder = self.output / "work"
        shutil.rmtree(folder, ignore_errors=True)
        file = self.config(model, name, self.rows(task, seed), folder, seed=seed)
        begin = time.monotonic()
        _, peak = run([self.tessera, "train", file])
        steps = [json.loads(line) for line in
                 (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        values = {"steps": len(steps), "trained_tokens": steps[-1]["tokens"],
                  "train_loss": steps[-1]["loss"], "peak": peak,
                  "seconds": time.monotonic() - begin}
        values.update(self.evaluate(model, task, name, folder))
        shutil.rmtree(folder)
        return values

    def train_same(self, model, what):
        ranks, keys = SAME[what]
        folder = self.output / "work"
        shutil.rmtree(folder, ignore_errors=True)
        file = self.config(model, "nf4_dq", self.rows("orders", 1), folder,
                           **{**FOUR_STEPS, **keys})
        command = [self.tessera, "train", file]
        if ranks > 1:
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", ranks, *command]
        run(command, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        values = {"what": what, "adapter": sha256(folder / "run" / "adapter_model.safetensors")}
        shutil.rmtree(folder)
        return values


def short(values):
    if "exact_match" in values:
        return f"loss {values['loss']:.4f}, exact match {100 * values['exact_match']:.0f} %"
    return values.get("adapter", "done")[:12]


def arguments():
    parser = argparse.ArgumentParser(prog="examples/quality/run.sh")
    parser.add_argument("--models", type=lambda text: text.split(","),
                        help=f"of {', '.join(MODELS)}, or paths of models; all of them by default")
    parser.add_argument("--seeds", type=int, default=None, help="runs of each kind; 3 by default")
    parser.add_argument("--small", action="store_true",
                        help="a random model, one seed, a few steps: shows that all works")
    parser.add_argument("--output", type=pathlib.Path, help="runs/quality by default")
    parser.add_argument("--only-report", action="store_true",
                        help="prints what is there and measures nothing")
    options = parser.parse_args()
    options.models = options.models or ([TINY] if options.small else list(MODELS))
    options.seeds = options.seeds or (1 if options.small else 3)
    options.output = options.output or REPOSITORY / ("runs/quality_small" if options.small
                                                     else "runs/quality")
    options.output.mkdir(parents=True, exist_ok=True)
    for model in options.models:
        if model not in MODELS and model != TINY and not pathlib.Path(model).exists():
            parser.error(f"--models: {model} is none of {', '.join(MODELS)}, and no path")
    return options


def lock(folder):
    """Keeps the folder for this process until it ends, however it does."""
    file = open(folder / "lock", "w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"study: another study is writing to {folder}; wait for it, or give another "
                 "--output")
    return file


def stop(_signal, _frame):
    raise KeyboardInterrupt


def main():
    options = arguments()
    study = Study(options)
    signal.signal(signal.SIGTERM, stop)
    try:
        if not options.only_report:
            with lock(options.output):
                study.complete()
    except KeyboardInterrupt:
        sys.exit("study: stopped by a signal; started again, it goes on from here")
    results = {key: study.result(key) for key, _ in study.jobs}
    version = run([study.tessera, "--version"])[0].strip()
    print(report.document(study, results, version), end="")


if __name__ == "__main__":
    main()
