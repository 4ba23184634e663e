"""Runs of `tessera train` as measurements, for studies, which import it: the seconds of each step,
what they went to, the most memory a rank had, and what `tessera plan` said of the same run. Results
stay in FOLDER/results.jsonl, so that a study that is started again goes on where it was."""
import json
import math
import os
import pathlib
import random
import re
import shutil
import subprocess
import textwrap
import time

MIB = 2**20
PARTS = ("products", "attention", "adapters", "elementwise", "dequantize", "head", "gather",
         "exchange", "optimizer")
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def machine():
    """ "2 cores of an AMD EPYC, 23 GiB of memory" """
    name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                 if line.startswith("model name")), "an unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores of an {name}, {memory:.0f} GiB of memory"


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def ranked(count):
    """What starts `count` ranks on this machine."""
    if count == 1:
        return []
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(count)]


def parts_of_steps(trace):
    """Of the trace of a profile: for each step its seconds, by part of the work and by layer, and
    those in which layers are computed again."""
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X"]
    steps = []
    for step in (e for e in events if e["name"].startswith("step ")):
        end = step["ts"] + step["dur"]
        # By their middles: where a step ends is rounded.
        inside = [e for e in events
                  if step["ts"] <= e["ts"] + e["dur"] / 2 < end and e is not step]
        seconds = dict.fromkeys(PARTS, 0.0)
        for event in inside:
            if event["name"] in seconds:
                seconds[event["name"]] += event["dur"] / 1e6
        turns = [e for e in inside if e["name"].startswith("layer ")]
        layers = {}
        for turn in turns:
            layer = turn["name"].split()[1]
            layers[layer] = layers.get(layer, 0.0) + turn["dur"] / 1e6
        again = sum(e["dur"] for e in turns if e["name"].endswith(" again")) / 1e6
        steps.append({"seconds": step["dur"] / 1e6, "parts": seconds, "again": again,
                      "layers": layers})
    return steps


class Study:
    """A folder with results, and the program that makes them."""

    def __init__(self, tessera, folder):
        self.tessera, self.folder = str(pathlib.Path(tessera).resolve()), pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "results.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.results = {line["key"]: line for line in map(json.loads, lines)}

    def once(self, key, measure):
        """The result under `key`: from an earlier start, or of measure()."""
        if key not in self.results:
            begin = time.monotonic()
            result = {"key": key} | measure()
            result["took"] = time.monotonic() - begin
            with open(self.file, "a") as out:
                out.write(json.dumps(result) + "\n")
            self.results[key] = result
        return self.results[key]

    def took(self):
        """Seconds of all measurements."""
        return sum(result["took"] for result in self.results.values())

    def data(self, length, count, vocab):
        """A file of `count` tokenized rows of `length` tokens, the same every time."""
        path = self.folder / f"rows-{length}-{count}-{vocab}.jsonl"
        if not path.exists():
            draw = random.Random(length)
            with open(path, "w") as out:
                for _ in range(count):
                    ids = [draw.randrange(vocab) for _ in range(length)]
                    out.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
        return path

    def config(self, model, length, batch, micro_batches, settings):
        """A config file of a run whose micro-batches are `batch` rows of `length` tokens."""
        shape = json.loads((model / "config.json").read_text())
        rows = self.data(length, batch * micro_batches, shape["vocab_size"])
        config = {"base_model": str(model), "datasets": [{"path": str(rows), "type": "tokenized"}],
                  "sequence_len": length, "sample_packing": False, "shuffle": False,
                  "micro_batch_size": batch, "global_batch_size": batch * micro_batches,
                  "warmup_steps": 0, "device": "cpu", "output_dir": str(self.folder / "run"),
                  "overwrite_output_dir": True}
        path = self.folder / "run.yml"
        path.write_text(json.dumps(config | settings))  # JSON is YAML, too
        return path

    def train(self, config, launcher):
        """Trains; seconds and losses of the steps but the first, and the most resident memory that
        a process had."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        log = self.folder / "log"
        with open(log, "w") as out:
            child = subprocess.Popen([*launcher, self.tessera, "train", config], stdout=out,
                                     stderr=out, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"{config}: exit code {child.returncode}\n{log.read_text()[-4000:]}")
        lines = [json.loads(line) for line in open(self.folder / "run" / "metrics.jsonl")]
        counted = [0] + [line["tokens"] for line in lines]
        seconds = [(counted[i + 1] - counted[i]) / line["tokens_per_second"]
                   for i, line in enumerate(lines)]
        return {"seconds": seconds[1:] or seconds, "tokens": counted[1],
                "losses": [line["loss"] for line in lines], "peak": usage.ru_maxrss * 1024}

    def profiled(self, config, launcher):
        """The same, with what the steps went to on rank 0."""
        result = self.train(config, launcher)
        traces = sorted((self.folder / "run").glob("profile-rank*.json"))
        ranks = [parts_of_steps(trace) for trace in traces]
        steps = ranks[0]
        for i, step in enumerate(steps):  # a rank that comes early waits for the others in it
            step["exchange_least"] = min(rank[i]["parts"]["exchange"] for rank in ranks)
        return result | {"steps": steps}

    def plan(self, config, ranks, *arguments):
        """What the plan says of it, with this machine's profile."""
        command = [self.tessera, "plan", config, "--json", "--ranks", str(ranks), *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)

    def device(self):
        """The file with this machine's profile, measured when a study begins."""
        path = self.folder / "device.json"
        if not path.exists():
            done = subprocess.run([self.tessera, "doctor", "--profile"], check=True,
                                  capture_output=True, text=True)
            path.write_text(done.stdout)
        return path


def say(text):
    """Prints paragraphs of Markdown, with lines of at most 100 columns."""
    for paragraph in text.strip("\n").split("\n\n"):
        if paragraph.startswith(("    ", "#", "![", "|")):
            print(paragraph + "\n")
            continue
        for item in re.split(r"\n(?=- )", paragraph):
            indent = "  " if item.startswith("- ") else ""
            print(textwrap.fill(" ".join(item.split()), 100, subsequent_indent=indent,
                                break_long_words=False, break_on_hyphens=False))
        print()


def table(head, rows):
    """Prints a table of Markdown."""
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def finite(value):
    """Whether every number in it is finite, and none below zero."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(finite, value))
    return not isinstance(value, (int, float)) or (math.isfinite(value) and value >= 0)
