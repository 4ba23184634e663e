"""Writes the study's results as a page of Markdown. What the page says of the results is computed
from them; what it says beside them holds for every outcome."""
import pathlib
import platform
import sys
import textwrap

from figures import Runs, Sample, loss_change, match_change

BASES = {"16": "16 bits", "int8": "int8, simulated", "nf4": "NF4",
         "nf4_dq": "NF4, double-quantized", "fp4": "FP4", "int4": "int4, simulated"}
MODELS = {"smollm2": "SmolLM2-135M", "gemma3_270m": "Gemma 3 270M", "tiny": "random"}
TASKS = {"orders": "Orders to JSON", "numbers": "Numbers in words to digits"}
CODES = {"nf4": "bitsandbytes: quantiles", "nf4_middles": "middles between quantiles",
         "nf4_means": "means of equal areas"}
MIB = 1 << 20


def short_name(key):
    """A part of a measurement's name, as that of a folder: of a path its last part."""
    return pathlib.Path(key).name


def title_of(model):
    return MODELS.get(model, short_name(model))


def paragraph(text):
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False,
                         break_on_hyphens=False) + "\n"


def points(*texts):
    return "".join(textwrap.fill(" ".join(text.split()), 100, initial_indent="- ",
                                 subsequent_indent="  ", break_long_words=False,
                                 break_on_hyphens=False) + "\n" for text in texts)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cores = len(names)
    return f"{cores} cores of {names[0] if names else platform.machine()}"


class Page:
    def __init__(self, study, results, version):
        self.study, self.results, self.version = study, results, version
        self.models = study.models
        self.runs = Runs(study.models, study.sizes, study.seeds, results)

    def write(self):
        sections = [self.head(), self.limits(), self.summary(), self.weights()]
        sections += [self.task(model, task) for model, task in self.runs.pairs]
        sections += [self.memory(), self.codes(), self.same(), self.method()]
        return "\n".join(sections)

    def head(self):
        missing = sum(value is None for value in self.results.values())
        options = " ".join(["", *sys.argv[1:]])
        text = "# Does a 4-bit base keep quality?\n\n"
        text += f"    examples/quality/run.sh{options}\n\n"
        text += paragraph(
            f"""This page is what that command printed on {processor()}, with {self.version},
            Python {platform.python_version()} and Linux. It trained the same adapters over the same
            models, held in six ways, on the same rows. A row of a table is one way to hold the
            base. A cell has the mean over the seeds ({len(self.study.seeds)} here) and, after ±,
            the standard deviation; a seed draws other rows to learn, their order, and another
            adapter to begin with. A difference is taken between runs of the same model, task and
            seed; after its ± stands the standard error. "Within noise" means that a t test at 95 %
            does not tell it from 0.""")
        if missing:
            text += "\n" + paragraph(f"**{missing} of {len(self.results)} measurements are "
                                     "missing.** Started again, the command makes them.")
        return text

    def compare(self, a, b):
        loss = self.runs.differences(a, b, loss_change)
        match = self.runs.differences(a, b, match_change)
        above = sum(value > 0 for value in loss.values)
        before = Sample(loss_change(*both) for model, task in self.runs.pairs
                        for both in [[self.results[(model, task, base, "before")]
                                      for base in (a, b)]] if all(both))
        return [f"{BASES[a]} against {BASES[b]}", f"{before.mean:+.1f}" if before.count else
                "missing", loss.difference_text(1), loss.reading(),
                f"{above} of {loss.count}", match.difference_text(1), match.reading()]

    def summary(self):
        pairs = [(base, "16") for base in BASES if base != "16"]
        pairs += [("nf4_dq", "nf4"), ("nf4", "fp4"), ("nf4", "int4")]
        return "## All runs together\n\n" + paragraph(
            """The loss is that of the answers to questions that were not learned. Its difference is
            in percent, so that models and tasks can be put together. Exact match is the share of
            questions whose whole answer is right; its difference is in percentage points. Runs of
            one model and task share their questions, so they are less independent than the standard
            errors take them to be. Of twenty readings one is expected to be wrong by chance.
            """) + "\n" + table(
                ["bases", "loss before training, %", "loss after, %", "reading", "higher in",
                 "exact match, points", "reading"],
                [self.compare(a, b) for a, b in pairs]) + "\n" + self.yardstick()

    def yardstick(self):
        """What runs differ by without a cause that matters."""
        moved = self.runs.differences("int8", "16", lambda a, b: abs(loss_change(a, b)))
        if not moved.count:
            return ""
        errors = self.results[("errors", "normal")]["formats"]
        ratio = errors["nf4"]["rms"] / errors["int8"]["rms"]
        return paragraph(
            f"""int8 is the yardstick. Its weights are {ratio:.0f} times nearer to the exact ones
            than NF4's. Still a run over them ends {moved.mean:.1f} % away from that over 16 bits,
            up or down, in the mean of {moved.count} pairs, because a short training magnifies every
            rounding. Differences of the loss that are smaller than that are not seen here.""")

    def limits(self):
        text = "## What this can show, and what not\n\n"
        small = [
            """**These models are small.** The claims of QLoRA are for models of 7 to 65 billion
            parameters and thousands of steps. Small models are usually hurt more by few bits than
            large ones, so a small loss here speaks for 4 bits, and a clear one says little about
            large models. What holds at any size: the errors of the weights, bits and bytes, and
            equal bits.""",
            """**A run is short**: it sees each row once. It shows how fast an adapter makes up for
            a rounded base, not where a long training ends.""",
            """**The questions are few.** One question more or less is 1 to 2 points of exact match,
            and a seed can move it by ten. Differences are therefore taken seed by seed. What is
            called noise here may be a difference that more seeds would show.""",
        ]
        return text + points(*self.grids(), *small)

    def grids(self):
        """What has to be said of models that were quantized before, as GGUF files are."""
        files = [(model, errors) for model in self.models
                 for errors in [self.results[("errors", model)]]
                 if errors and errors["source"]["layout"] == "gguf"]
        normal = self.results[("errors", "normal")]
        if not files or not normal:
            return []
        kinds = "; ".join(
            f"{title_of(model)} holds tensors in " + ", ".join(
                f"{kind['format']} ({kind['tensors']})" for kind in errors["source"]["formats"]
                if kind["format"] != "F32") for model, errors in files)
        most = max(abs(errors["formats"][base]["rms"] / normal["formats"][base]["rms"] - 1)
                   for _, errors in files for base in BASES if base != "16")
        return [f"""**The models have been quantized before.** Their 16-bit files could not be had
                for everyone, so "16 bits" are GGUF files widened to float16: {kinds}. Their weights
                lie on grids of other scales and blocks than those compared here. What that first
                rounding cost is in all rows alike, and the differences are those of a second one. A
                grid could favour a format whose values lie like its own. The errors say that it
                does so little: they are at most {100 * most:.0f} % from those of normal
                numbers."""]

    def bits(self, base, model):
        errors = self.results[("errors", model)]
        if not errors:
            return "missing", "missing"
        linears, others = errors["weights"], errors["other_weights"]
        total = linears * (16 if base == "16" else errors["formats"][base]["bits"]) + others * 16
        return f"{total / (linears + others):.2f}", f"{total / 8 / MIB:.4g}"

    def error(self, base, model, key):
        errors = self.results[("errors", model)]
        return f"{100 * errors['formats'][base][key]:.2f}" if errors else "missing"

    def weights(self):
        head = ["base", "bits of a linear's weight"]
        for model in self.models:
            head += [f"{title_of(model)}: bits of a parameter", "MiB", "error, %"]
        normal = self.results[("errors", "normal")]
        rows = []
        for base, title in BASES.items():
            bits = 16 if base == "16" else normal["formats"][base]["bits"] if normal else "missing"
            row = [title, f"{bits:.3f}" if normal else bits]
            for model in self.models:
                row += [*self.bits(base, model), "0" if base == "16" else
                        self.error(base, model, "rms")]
            rows.append([*row, "0" if base == "16" else self.error(base, "normal", "rms")])
        return "## Weights\n\n" + paragraph(
            """The error is the root mean square of what rounding changes, divided by that of the
            weights, over all linears of the layers. The last column has it for 4 million normal
            numbers. Blocks have 64 weights. Scales are float32; with double quantization they have
            8 bits, and each 256 of them share a float32. Embedding, head and norms keep 16 bits in
            every base: in models this small they are a large part.""") + "\n" + table(
                [*head, "normal numbers: error, %"], rows)

    def task(self, model, task):
        learned, asked = self.study.sizes[task]
        rows = []
        for base, title in BASES.items():
            before = self.results[(model, task, base, "before")]
            row = [title, f"{before['loss']:.3f}" if before else "missing"]
            pair = [(model, task)]
            row.append(self.runs.sample(model, task, base, "loss").spread_text(4))
            loss = self.runs.differences(base, "16", loss_change, pair)
            row += ["", ""] if base == "16" else [loss.difference_text(1), loss.reading()]
            match = self.runs.sample(model, task, base, "exact_match")
            row.append(Sample(100 * value for value in match.values).spread_text(0))
            match = self.runs.differences(base, "16", match_change, pair)
            row += ["", ""] if base == "16" else [match.difference_text(1), match.reading()]
            rows.append(row)
        steps = self.runs.sample(model, task, "16", "steps")
        tokens = self.runs.sample(model, task, "16", "trained_tokens")
        about = (f"{learned} rows to learn, {tokens.mean:.0f} tokens in {steps.mean:.0f} steps; "
                 f"{asked} questions.") if steps.count else f"{learned} rows, {asked} questions."
        return f"## {title_of(model)}: {TASKS[task]}\n\n{about}\n\n" + table(
            ["base", "loss before", "loss", "against 16 bits, %", "reading", "exact match, %",
             "against 16 bits, points", "reading"], rows)

    def memory(self):
        rows = []
        for base, title in BASES.items():
            row = [title]
            for model in self.models:
                peaks = [run["peak"] for task in self.study.sizes for seed in self.study.seeds
                         for run in [self.runs.get(model, task, base, seed)] if run]
                row.append(f"{max(peaks) / MIB:.0f}" if peaks else "missing")
            rows.append(row)
        return "## Memory of a run\n\n" + paragraph(
            """The most resident memory of `tessera train`, in MiB, over all tasks and seeds. Bases
            that are simulated are float16 files, so they take what 16 bits take."""
        ) + "\n" + table(
                ["base", *map(title_of, self.models)], rows)

    def smallest(self, sources, key):
        """The accounts that have the smallest error somewhere."""
        found = [self.results[("errors", source)] for source in sources]
        best = {min(CODES, key=lambda code: errors["formats"][code][key])
                for errors in found if errors}
        return " and ".join(f'"{CODES[code]}"' for code in CODES if code in best)

    def codes(self):
        sources = [*self.models, "normal"]
        titles = [*map(title_of, self.models), "normal numbers"]
        head = ["values", *(f"{title}: {what}" for title in titles
                            for what in ("root mean square, %", "mean, %"))]
        rows = [[title, *(self.error(code, source, key) for source in sources
                          for key in ("rms", "mean"))] for code, title in CODES.items()]
        smallest = {key: self.smallest(sources, key) for key in ("rms", "mean")}
        text = "## Two accounts of NF4's values\n\n" + paragraph(
            f"""Two accounts of how NF4's values come about are in print, and neither gives the
            numbers of bitsandbytes, which everyone uses. One goes by the words of the QLoRA paper
            (Dettmers et al. 2023), that every value stands for equally many weights: the normal
            distribution is cut into areas of equal size, and a value is the mean over its area. The
            other is the paper's equation 4: a value is the middle between neighbouring quantiles,
            of which the infinite ones are left out here. In both, 7 values lie below 0 and 8 above,
            and each side is divided by its largest. bitsandbytes takes quantiles themselves, at
            equal steps of probability between 1/2 and 0.9677083.
            Errors are those of the section on weights, and the mean change divided by the mean
            magnitude. The smallest root mean square has {smallest['rms']}, the smallest mean
            {smallest['mean']}.""") + "\n" + table(head, rows)
        normal = self.results[("errors", "normal")]
        if not normal:
            return text
        values = normal["values"]
        return text + "\n" + table(["code", *CODES.values()], [
            [code, *(f"{values[name][code]:.4f}" for name in CODES)] for code in range(16)])

    def same(self):
        results = [value for key, value in self.results.items() if key[0] == "same" and value]
        if not results:
            return "## Equal bits\n\nmissing\n"
        first = results[0]["adapter"]
        rows = [[value["what"], f"`{value['adapter'][:16]}`",
                 "equal" if value["adapter"] == first else "other"] for value in results]
        alike = sum(value["adapter"] == first for value in results)
        return "## Equal bits\n\n" + paragraph(
            f"""Four steps of {title_of(self.models[0])} over NF4 with double quantization, two rows
            each; then the beginning of the SHA-256 of `adapter_model.safetensors`. {alike} of
            {len(results)} runs have written the same file. 8-bit state is expected to write
            another one: it rounds the optimizer's state. That row shows that this comparison can
            fail.""") + "\n" + table(["run", "adapter", "against the first"], rows)

    def method(self):
        keys = ", ".join(f"`{key}: {str(value).lower()}`" for key, value in
                         self.study.settings.items()
                         if key not in ("device", "overwrite_output_dir", "logging_steps"))
        rates = ", ".join(f"{self.study.learning_rate(model):g} for {title_of(model)}"
                          for model in self.models)
        return "## How it was measured\n\n" + points(
            f"Keys of all runs: {keys}; the learning rate is {rates}. All seven linears of a layer "
            "have adapters.",
            """Tasks: `examples/quality/tasks.py` draws the rows. An order is a sentence of the
            [quickstart](quickstart.md), its answer a record in JSON; names and items of the
            questions are never learned. A number has four digits; the sum of the first three is a
            multiple of 4 in all questions and in no row to learn.""",
            """Loss and exact match: `tessera eval` over the questions, after training
            ([what they mean](eval.md)). "Loss before" is that of the base without an adapter.""",
            """int8 and int4 are no formats of Tessera. `bench_round_weights` rounds each linear's
            weights, in blocks of 64, to -127..127 or -7..7 times a scale, and writes them as a
            float16 model, which is trained with `adapter: lora`.""",
            """16 bits are float16 weights. All products are float32 in every run.""")


def document(study, results, version):
    return Page(study, results, version).write()
