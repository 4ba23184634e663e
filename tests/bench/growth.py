#!/usr/bin/env python3
"""How speed and memory of a training step grow with sequence length, model size, ranks, hosts and
micro-batches on this machine, beside what `tessera plan` says; and what the plan says of up to
4,096 ranks. Prints docs/growth.md and draws its charts as growth_*.svg beside it.
Usage: growth.py TESSERA BENCH_PLOT FOLDER CHARTS [--turns N] [--note TEXT] [--tiny]

FOLDER keeps the results; started again, the command goes on where it was. CHARTS is the folder for
the charts. Models have random weights; the largest is a file of 6 GiB in FOLDER while it is
measured, and takes up to 12 GB of memory. TEXT says on the page what else the
machine did. With --tiny all models are toys, to see that the tables are whole. Exits with 1 where
they are not, or where figures contradict each other."""
import argparse
import dataclasses
import pathlib
import shutil
import subprocess
import sys

import growth_page
import modelled_ranks
import random_checkpoint
from measured_run import ENVIRONMENT, Study, finite, median, ranked

SMOL = {"layers": 30, "hidden": 576, "ffn": 1536, "heads": 9, "kv_heads": 3, "vocab": 49152,
        "tied": True}
TOY = {"layers": 4, "hidden": 64, "ffn": 128, "heads": 2, "kv_heads": 1, "vocab": 256,
       "tied": True}
SIZES = {  # of Llama 3, as their public config.json have them
    "135M": SMOL,
    "1B": {"layers": 16, "hidden": 2048, "ffn": 8192, "heads": 32, "kv_heads": 8,
           "vocab": 128256, "tied": True},
    "3B": {"layers": 28, "hidden": 3072, "ffn": 8192, "heads": 24, "kv_heads": 8,
           "vocab": 128256, "tied": True},
    "8B": {"layers": 32, "hidden": 4096, "ffn": 14336, "heads": 32, "kv_heads": 8,
           "vocab": 128256, "tied": False},
}
THIN = 2  # layers of the longest sequences' model
WHOLE = 8192  # tokens of the longest row that goes through all layers
BUDGET = "11GiB"  # of the models of several sizes: below 12 GB with the program itself
LARGE = 10**9  # parameters of a model that is removed when it has been measured


@dataclasses.dataclass
class Point:
    """One measurement: a step of `micro_batches` of `batch` rows of `length` tokens."""
    series: str
    name: str
    shape: dict
    length: int
    batch: int = 1
    micro_batches: int = 1
    ranks: int = 1
    hosts: int = 1
    steps: int = 2
    turns: int = 1
    settings: dict = dataclasses.field(default_factory=dict)

    def tokens(self):
        return self.length * self.batch * self.micro_batches


def points_of(options):
    """All that is measured, cheap points several times."""
    smol = TOY if options.tiny else SMOL
    thin = smol | {"layers": 2 if options.tiny else THIN}
    sizes = {"toy": TOY, "two toys": TOY | {"layers": 8}} if options.tiny else SIZES
    lengths = [32, 64] if options.tiny else [256 << i for i in range(8)]
    row = 32 if options.tiny else 256
    recomputed, kept = {"gradient_checkpointing": True}, {"gradient_checkpointing": False}
    points = []
    for length in lengths:
        turns = options.turns if length <= 2048 else 1
        if length <= WHOLE:
            points.append(Point("length", f"{length}", smol, length, turns=turns,
                                settings=recomputed))
        if length >= 4096 or options.tiny:
            points.append(Point("thin", f"{length}", thin, length, settings=recomputed))
    for name, shape in sizes.items():
        points.append(Point("size", name, shape, row, settings={"memory_budget": BUDGET}))
    for ranks in [1, 2] if options.tiny else [1, 2, 4, 8]:
        for sharding in ["replicate"] if ranks == 1 else ["full", "replicate"]:
            settings = kept | {"sharding": sharding}
            if ranks > 1:
                settings["threads"] = 1
            points.append(Point("ranks", f"{ranks} {sharding}", smol, row, micro_batches=8,
                                ranks=ranks, turns=options.turns, settings=settings))
    for sharding in [] if options.tiny else ["full", "hybrid", "replicate"]:
        points.append(Point("hosts", sharding, smol, row, micro_batches=4, ranks=4, hosts=2,
                            settings=kept | {"sharding": sharding, "threads": 1}))
    for count in [1, 2] if options.tiny else [1, 2, 4, 8]:
        points.append(Point("rows", f"{count}", smol, row, batch=count, turns=options.turns,
                            settings=kept))
        points.append(Point("micro-batches", f"{count}", smol, row, micro_batches=count,
                            turns=options.turns, settings=kept))
    # The longest measurement comes last.
    return sorted(points, key=lambda point: point.series == "length" and point.length == WHOLE)


class GrowthStudy(Study):
    def __init__(self, options):
        super().__init__(options.tessera, options.folder)
        self.options, self.points = options, points_of(options)
        self.hosts = pathlib.Path(__file__).with_name("on_two_hosts.sh")

    def model(self, shape):
        name = "-".join(str(shape[key]) for key in ("hidden", "ffn", "layers"))
        return random_checkpoint.write(self.tessera, self.folder / f"model-{name}", shape)

    def measure(self, point):
        model = self.model(point.shape)
        settings = point.settings | {"profile": True, "max_steps": point.steps}
        config = self.config(model, point.length, point.batch, point.micro_batches, settings)
        per_node = point.ranks // point.hosts
        result = {"plan": self.plan(config, point.ranks, "--ranks_per_node", per_node,
                                    "--profile", self.device())}
        if point.hosts > 1:
            result |= self.on_hosts(model, point)
        else:
            result |= self.profiled(config, ranked(point.ranks))
        if random_checkpoint.parameters(point.shape) >= LARGE:
            shutil.rmtree(model)
        return result

    def on_hosts(self, model, point):
        """A short and a longer run: their difference is what steps send over the link, without what
        loading sends."""
        crossed, file = [], self.folder / "crossed"
        for steps in (2, 2 + point.steps):
            config = self.config(model, point.length, point.batch, point.micro_batches,
                                 point.settings | {"profile": True, "max_steps": steps})
            result = self.profiled(config, [str(self.hosts), str(point.ranks), str(file)])
            crossed.append([int(n) for n in file.read_text().split()])
        each_way = [(long - short) / point.steps for short, long in zip(*crossed)]
        return result | {"sent": each_way[0], "received": each_way[1]}

    def hosts_exist(self):
        done = subprocess.run([self.hosts, "2", self.folder / "crossed", "true"], env=ENVIRONMENT,
                              capture_output=True, text=True)
        if done.returncode == 0:
            return True
        print(f"without two hosts: {done.stderr.strip()}", file=sys.stderr)
        return False

    def run(self):
        if any(p.hosts > 1 for p in self.points) and not self.hosts_exist():
            self.points = [p for p in self.points if p.hosts == 1]
        for turn in range(self.options.turns):
            for point in self.points:
                if turn >= point.turns:
                    continue
                key = f"{turn}: {point.series}: {point.name}"
                print(key, file=sys.stderr)
                self.once(key, lambda point=point: self.measure(point))

    def rows(self, series):
        """The points of a series, all turns together."""
        rows = []
        for point in (p for p in self.points if p.series == series):
            runs = [self.results[f"{turn}: {series}: {point.name}"]
                    for turn in range(point.turns)]
            steps = [step for run in runs for step in run["steps"]]
            seconds = [step["seconds"] for step in steps]
            rows.append({"point": point, "runs": runs, "steps": steps, "seconds": seconds,
                         "rate": point.tokens() / median(seconds),
                         "rates": (point.tokens() / max(seconds), point.tokens() / min(seconds)),
                         "peak": max(run["peak"] for run in runs), "plan": runs[0]["plan"]})
        return rows


def faults(tables, modelled, tiny):
    """What contradicts itself."""
    found = []
    for series, rows in tables.items():
        for row in rows:
            name = f"{series} {row['point'].name}"
            if not row["steps"] or not finite([row["runs"], row["rate"]]) or row["rate"] <= 0:
                found.append(f"{name}: a figure is missing, not finite, or below zero")
            for step in row["steps"]:
                if abs(sum(step["parts"].values()) - step["seconds"]) > 0.01 * step["seconds"]:
                    found.append(f"{name}: the parts of a step do not add up to it")
            planned = row["plan"]["peak"]
            if not tiny and abs(row["peak"] - planned) > max(planned / 20, 48 << 20):
                found.append(f"{name}: {row['peak']} bytes, but {planned} planned")
            if "sent" in row["runs"][0]:
                planned = row["plan"]["bytes_between_nodes"]
                for way in ("sent", "received"):
                    if abs(row["runs"][0][way] - planned) > planned / 10:
                        found.append(f"{name}: {row['runs'][0][way]} bytes {way}, but {planned} "
                                     "planned")
    if any(run["losses"] != tables["ranks"][0]["runs"][0]["losses"]
           for row in tables["ranks"] for run in row["runs"]):
        found.append("ranks: other losses on other ranks")
    if not finite(modelled) or not modelled:
        found.append("modelled: a figure is missing, not finite, or below zero")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera")
    parser.add_argument("bench_plot")
    parser.add_argument("folder")
    parser.add_argument("charts")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--note", default="", help="what else the machine did, for the page")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    study = GrowthStudy(options)
    study.run()
    tables = {series: study.rows(series)
              for series in dict.fromkeys(point.series for point in study.points)}
    modelled = modelled_ranks.measure(study, options.tiny)
    wrong = faults(tables, modelled, options.tiny)
    growth_page.show(study, tables, modelled)
    if not wrong:
        growth_page.draw(options, study.folder, tables, modelled)
    for fault in wrong:
        print(f"growth.py: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
