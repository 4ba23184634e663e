#!/usr/bin/env python3
"""What each choice of a run costs, by sequence length and batch, on this machine: 4 bits, double
quantization, a paged optimizer, recomputed activations, sums of gradients that have the same bits
on any ranks. Prints docs/cost.md.
Usage: cost.py TESSERA MODEL FOLDER [--rounds N] [--note TEXT] [--tiny]

MODEL is a folder or a GGUF file, such as launch/get_smollm2.sh fetches. FOLDER keeps the results;
started again, the command goes on where it was. TEXT says on the page what else the machine did.
With --tiny, which needs no MODEL (give -), all runs are those of a toy, to see that the table is
whole. Exits with 1 where it is not, or where figures contradict each other."""
import argparse
import pathlib
import shutil
import subprocess
import sys

import random_checkpoint
from measured_run import MIB, Study, finite, machine, median, ranked, say, table

TOY = {"layers": 6, "hidden": 64, "ffn": 128, "heads": 2, "kv_heads": 1, "vocab": 256,
       "tied": True}
NF4, PAGED, FILED = "NF4, double-quantized", "paged optimizer, 4 MiB stay", "pages in a file"
STEPS = 4  # of a run; the first is not counted
MOST_OF_RANKS = 2048  # tokens of a step of several ranks
PAGES = {"optimizer": "paged_adamw_32bit", "optimizer_page_budget": "4MiB"}


class Setting:
    """`part`: what of a step the choice shows in. `bits`: the losses are those of the others."""

    def __init__(self, name, part, settings, ranks=1, bits=True):
        self.name, self.part, self.settings = name, part, settings
        self.ranks, self.bits = ranks, bits


SETTINGS = [
    Setting(NF4, "dequantize", {}),
    Setting("NF4, plain scales", "dequantize", {"base_model": "plain"}, bits=False),
    Setting("LoRA on float32", "dequantize", {"base_model": "dense", "adapter": "lora"},
            bits=False),
    Setting(PAGED, "optimizer", PAGES),
    Setting(FILED, "optimizer", PAGES | {"optimizer_page_dir": "pages"}),
    Setting("recomputed", "again", {"gradient_checkpointing": True}),
    Setting("recomputed, 4 layers together", "again",
            {"gradient_checkpointing": True, "gradient_checkpointing_layers": 4}),
    Setting("offloaded", "again", {"gradient_checkpointing": "offload"}),
    Setting("2 ranks, invariant", "exchange", {"threads": 1}, ranks=2),
    Setting("2 ranks, fast", "exchange", {"threads": 1, "reduction": "fast"}, ranks=2,
            bits=False),
    Setting("4 ranks, invariant", "exchange", {"threads": 1}, ranks=4),
    Setting("4 ranks, fast", "exchange", {"threads": 1, "reduction": "fast"}, ranks=4,
            bits=False),
]


class CostStudy(Study):
    def __init__(self, options):
        super().__init__(options.tessera, options.folder)
        self.rounds = options.rounds
        self.cells = [(32, 1), (32, 2)] if options.tiny else [(256, 1), (256, 4), (1024, 1)]
        self.models = self.prepare(options)

    def prepare(self, options):
        """The bases, quantized once, so that a run starts at once; without double quantization, the
        toy is the same again."""
        if options.tiny:
            model = random_checkpoint.write(self.tessera, self.folder / "toy", TOY)
            dense = random_checkpoint.write_dense(self.folder / "toy-dense", TOY)
            return {"nf4": model, "plain": self.quantized(dense, "plain"), "dense": dense}
        model = pathlib.Path(options.model)
        return {"nf4": self.quantized(model, "nf4"), "plain": self.quantized(model, "plain"),
                "dense": model}

    def quantized(self, model, name):
        folder = self.folder / name
        if not (folder / "config.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            double = "false" if name == "plain" else "true"
            subprocess.run([self.tessera, "quantize", model, folder, "--double_quant", double],
                           check=True, capture_output=True)
        return folder

    def settings_of(self, cell):
        """What ranks exchange has one size: large steps of many of them would only take longer."""
        return [s for s in SETTINGS
                if s.ranks == 1 or (cell[1] == 1 and s.ranks * cell[0] <= MOST_OF_RANKS)]

    def measure(self, cell, setting):
        length, batch = cell
        settings = {"gradient_checkpointing": False, "profile": True, "max_steps": STEPS}
        settings |= setting.settings
        if "base_model" in settings:
            settings["base_model"] = str(self.models[settings["base_model"]])
        if "optimizer_page_dir" in settings:
            settings["optimizer_page_dir"] = str(self.folder / "pages")
            (self.folder / "pages").mkdir(exist_ok=True)
        config = self.config(self.models["nf4"], length, batch, setting.ranks, settings)
        return self.profiled(config, ranked(setting.ranks))

    def run(self):
        for turn in range(self.rounds):
            for cell in self.cells:
                for setting in self.settings_of(cell):
                    key = f"{turn}: {cell[0]} x {cell[1]}: {setting.name}"
                    print(key, file=sys.stderr)
                    self.once(key, lambda cell=cell, setting=setting: self.measure(cell, setting))

    def row(self, cell, setting):
        """All rounds of one setting together."""
        runs = [self.results[f"{turn}: {cell[0]} x {cell[1]}: {setting.name}"]
                for turn in range(self.rounds)]
        steps = [step for run in runs for step in run["steps"]]
        own = [step["again"] if setting.part == "again" else
               step["exchange_least"] if setting.part == "exchange" else
               step["parts"][setting.part] for step in steps]
        return {"steps": steps, "own": own,
                "shares": [o / step["seconds"] for o, step in zip(own, steps)],
                "runs": runs, "setting": setting, "cell": cell,
                "seconds": [step["seconds"] for step in steps],
                "tokens": runs[0]["tokens"], "peak": max(run["peak"] for run in runs)}

    def table(self):
        return [self.row(cell, setting) for cell in self.cells
                for setting in self.settings_of(cell)]


def faults(rows, study):
    """What of the table contradicts itself."""
    found = []
    for row in rows:
        name = f"{row['cell'][0]} x {row['cell'][1]}, {row['setting'].name}"
        if len(row["steps"]) != study.rounds * (STEPS - 1):
            found.append(f"{name}: {len(row['steps'])} steps")
        if not finite([row["runs"], row["own"]]) or min(row["seconds"]) <= 0:
            found.append(f"{name}: a figure is not finite, or below zero")
        for step in row["steps"]:
            if abs(sum(step["parts"].values()) - step["seconds"]) > 0.01 * step["seconds"]:
                found.append(f"{name}: the parts of a step do not add up to it")
        none = row["setting"].name == "LoRA on float32"
        if (median(row["own"]) > 0) == none or max(row["own"]) >= max(row["seconds"]):
            found.append(f"{name}: its own part is {row['own']} s of {row['seconds']}")
        first = next(r for r in rows if r["cell"] == row["cell"]
                     and r["setting"].ranks == row["setting"].ranks)
        if row["setting"].bits and any(run["losses"] != first["runs"][0]["losses"]
                                       for run in row["runs"]):
            found.append(f"{name}: other losses than {first['setting'].name}")
    return found


def spread(values, scale=1000.0):
    low, high = scale * min(values), scale * max(values)
    return f"{scale * median(values):,.0f} ({low:,.0f}..{high:,.0f})"


def print_table(rows):
    shown = []
    for row in rows:
        setting, least = row["setting"], min(row["seconds"])
        first = next(r for r in rows if r["cell"] == row["cell"]
                     and r["setting"].ranks == setting.ranks)
        against = (f"{100 * (least / min(first['seconds']) - 1):+.1f} %" if first is not row
                   else "")
        own = median([1000 * o for o in row["own"]])
        shown.append([f"{row['cell'][0]:,} x {row['cell'][1]}", setting.name,
                      spread(row["seconds"]), against, f"{row['tokens'] / least:,.0f}",
                      f"{row['peak'] / MIB:,.0f}", setting.part, f"{own:,.1f}",
                      f"{100 * median(row['shares']):.1f} %"])
    table(["tokens", "setting", "a step, ms", "to the first", "tokens/s", "peak MiB", "part",
           "its ms", "of the step"], shown)


def found(rows, cell, name):
    return next(r for r in rows if r["cell"] == cell and r["setting"].name == name)


def print_findings(rows, cells):
    """Sentences with the figures of the first and the last cell."""
    def both(figure):
        return " and ".join(figure(cell) for cell in (cells[0], cells[-1]))

    def share(name):
        return both(lambda cell: f"{100 * median(found(rows, cell, name)['shares']):.1f} %")

    def dearer(cell):
        own = [median(found(rows, cell, f"NF4, {how}")["own"])
               for how in ("double-quantized", "plain scales")]
        return f"{1000 * (own[0] - own[1]):.1f} ms"

    def added(name):
        """Seconds of the second forward over those of the rest of the step."""
        def of(cell):
            return median([share / (1 - share) for share in found(rows, cell, name)["shares"]])
        return both(lambda cell: f"{100 * of(cell):.0f} %")

    def saved(name):
        def of(cell):
            return found(rows, cell, NF4)["peak"] - found(rows, cell, name)["peak"]
        return both(lambda cell: f"{of(cell) / MIB:,.0f} MiB")

    def optimizer(cell):
        row = found(rows, cell, NF4)
        return f"{1000 * median([step['parts']['optimizer'] for step in row['steps']]):.1f} ms"

    def own(name):
        return both(lambda cell: f"{1000 * median(found(rows, cell, name)['own']):.1f} ms")

    first, last = cells[0], cells[-1]
    say(f"""
With {first[0]:,} x {first[1]} and {last[0]:,} x {last[1]} tokens:

- **Dequantization** is {share(NF4)} of a step. A panel of a weight is decoded once in each
  direction for up to 1,026 tokens of a micro-batch, so that its share falls until micro-batches
  have that many tokens.
- **Double quantization** makes decoding {both(dearer)} a step longer.
- **Paging** makes the optimizer take {own(PAGED)} with pages in host memory and
  {own(FILED)} with pages in a file, against {both(optimizer)} without. It does not
  depend on the tokens. On a CPU only pages in a file save memory.
- **Recomputing** adds {added('recomputed')} to a step and saves {saved('recomputed')}. In groups of
  4 layers it adds {added('recomputed, 4 layers together')} and saves
  {saved('recomputed, 4 layers together')}; offloaded, {added('offloaded')} and
  {saved('offloaded')}: on a CPU, what is offloaded stays in the same memory.
- **Sums of gradients** take {exchange(rows, first, 2)} on 2 ranks and
  {exchange(rows, first, 4)} on 4 (invariant and fast, {first[0]:,} x {first[1]} tokens). The bytes
  do not depend on the tokens.""")


def exchange(rows, cell, ranks):
    own = [median(found(rows, cell, f"{ranks} ranks, {how}")["own"]) * 1000
           for how in ("invariant", "fast")]
    return f"{own[0]:.1f} and {own[1]:.1f} ms"


def print_page(study, rows, options):
    model = "a toy" if options.tiny else f"`{pathlib.Path(options.model).name}`"
    say(f"""# What each choice costs

    launch/get_smollm2.sh runs/smollm2
    tests/bench/cost.py build/tessera runs/smollm2/model.gguf runs/cost > docs/cost.md

The second command made this page, in {study.took() / 60:.0f} minutes on {machine()}. It trains
{model} with r = 16 on all linears, in float32, and measures steps of so many rows of so many tokens
(`tokens`: length x rows of a micro-batch; a step has one micro-batch for each rank). The settings
take turns, {study.rounds} times; a run has {STEPS} steps, of which the first is not counted. So
each figure is the median of {study.rounds * (STEPS - 1)} steps, with the least and the most.
`tokens/s` and `to the first`, which compares with the first row of the same tokens and ranks, are
those of the least, which other work disturbed least. `peak` is the most memory that a process had
resident. {options.note}

`part` is what of the step the choice shows in, as `profile: true` measures it
([training.md](training.md)): `dequantize` is the threads' time in the decoder of the frozen
weights, `again` the second forward of recomputed layers, `exchange` the sum of gradients over the
ranks, of the rank that waited least for others. Its share is one of the same steps, and says more
than the difference of two where that is smaller than the spread. Without rows of their own,
activations are kept, and nothing is paged. All rows of the same tokens and ranks have the same
losses to the bit, but for those with other weights and for `fast`; the command checks it.
""")
    print_table(rows)
    print_findings(rows, study.cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera")
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--note", default="", help="what else the machine did, for the page")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    study = CostStudy(options)
    study.run()
    rows = study.table()
    wrong = faults(rows, study)
    print_page(study, rows, options)
    for fault in wrong:
        print(f"cost.py: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
