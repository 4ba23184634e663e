"""What Tessera writes, shown to the programs that are to read it."""

import dataclasses
import json
import os
import pathlib
import re
import struct
import subprocess
import typing

import report_page
from goldens import STACK

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
TINY = GOLDEN / "tiny_llama"


@dataclasses.dataclass(frozen=True)
class Live:
    # (program, ask, folder) -> lines of faults; ask(script, arguments, folder=) runs a script of
    # the environment, and ends the check where that fails.
    check: typing.Callable
    packages: tuple


def tessera(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"tessera {arguments[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def trained(program, folder, *settings):
    """The output folder of eight steps on tiny_llama, with two rows held out."""
    run = folder / "run"
    config = folder / "run.yml"
    config.write_text(f"base_model: {TINY}\ndatasets: [{{path: {TINY / 'data.jsonl'}, "
                      f"type: tokenized}}]\noutput_dir: {run}\nval_set_size: 2\neval_steps: 4\n"
                      + (GOLDEN / "eight_steps.yml").read_text())  # fmt: skip
    tessera(program, "train", config, *settings)
    return run


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_tensorboard(program, ask, folder):
    """TensorBoard's own reader finds the numbers of metrics.jsonl, in float32."""
    run = trained(program, folder, "report_to=tensorboard")
    found = {}
    printed = ask(GOLDEN / "read_tensorboard.py", run / "tensorboard", folder=folder)
    for line in printed.splitlines():
        if re.fullmatch(r"\S+/\S+ \d+ \S+", line):
            tag, step, value = line.split()
            found[tag, int(step)] = float(value)
    tags = {"loss": "train/loss", "grad_norm": "train/grad_norm", "epoch": "train/epoch",
            "learning_rate": "train/learning_rate", "eval_loss": "eval/loss",
            "tokens_per_second": "train/tokens_per_second"}  # fmt: skip
    expected = {(tag, entry["step"]): struct.unpack("f", struct.pack("f", entry[key]))[0]
                for entry in lines_of(run) for key, tag in tags.items() if key in entry}
    assert len(expected) == 5 * 8 + 2, len(expected)
    return [f"{key}: metrics.jsonl has {expected.get(key)}, tensorboard reads {found.get(key)}"
            for key in sorted(expected.keys() | found.keys())
            if expected.get(key) != found.get(key)]  # fmt: skip


def check_wandb(program, ask, folder):
    """The lines of docs/report.md give a run of Weights & Biases the values of metrics.jsonl."""
    run = trained(program, folder)
    page = (HERE.parents[1] / "docs" / "report.md").read_text()
    lines = re.search(r"\n    import json\n    import wandb\n(.*?)\n    run\.finish\(\)\n", page,
                      re.S)  # fmt: skip
    if not lines:
        return ["docs/report.md has no lines from `import json` to `run.finish()`"]
    text = "import json\nimport wandb\n" + re.sub(r"(?m)^    ", "", lines[1])
    text, count = re.subn(r'open\("[^"]*"\)', f'open("{run}/metrics.jsonl")', text)
    if count != 1:
        return [f"the lines of docs/report.md open {count} files, not 1"]
    script = folder / "lines.py"
    script.write_text(text + "\nrun.finish()\n")
    os.environ["WANDB_SILENT"] = "true"
    ask(script, folder=folder)
    files = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    if len(files) != 1:
        return [f"there are {len(files)} files wandb/offline-run-*/run-*.wandb"]
    found = {}
    for line in ask(HERE / "read_wandb.py", files[0], folder=folder).splitlines():
        values = json.loads(line)
        found.setdefault(values.pop("_step"), {}).update(values)
    expected = {}
    for entry in lines_of(run):
        expected.setdefault(entry.pop("step"), {}).update(entry)
    return [f"step {step}: {key} of metrics.jsonl is {value}, of the run {found[step].get(key)}"
            for step, values in expected.items() for key, value in values.items()
            if found.get(step, {}).get(key) != value]  # fmt: skip


def check_merge(program, ask, folder):
    """Merged folders are PEFT's merge_and_unload; in 4 bits they are what bitsandbytes saves."""
    adapter = trained(program, folder)
    for into in ("original", "dequantized", "nf4"):
        tessera(program, "merge", "--base_model", TINY, "--adapter", adapter, "--output",
                folder / into, "--merge_into", into, "--dtype", "float32")  # fmt: skip
    for into, nf4 in (("original", ()), ("dequantized", ("--nf4",))):
        ask(GOLDEN / "check_merged.py", "--base", TINY, "--adapter", adapter, "--merged",
            folder / into, *nf4, folder=folder)  # fmt: skip
    ask(GOLDEN / "check_quantized.py", "--base", folder / "original", "--quantized",
        folder / "nf4", folder=folder)  # fmt: skip
    return []


def check_adapter(program, ask, folder):
    """PEFT loads an adapter that training wrote without a warning, and saves it alike."""
    ask(GOLDEN / "check_peft_loads.py", TINY, trained(program, folder), folder=folder)
    return []


def check_quantize(program, ask, folder):
    """A folder of `tessera quantize` is what transformers saves with bitsandbytes."""
    tessera(program, "quantize", TINY, folder / "nf4")
    ask(GOLDEN / "check_quantized.py", "--base", TINY, "--quantized", folder / "nf4",
        folder=folder)  # fmt: skip
    return []


def check_report(program, ask, folder):
    """Chromium shows the page of `tessera report`: see report_page.py."""
    run = trained(program, folder)
    page = folder / "report.html"
    tessera(program, "report", run, "--output", page)
    return report_page.faults(page, folder, ask)


CHECKS = {
    "tensorboard_run": Live(check_tensorboard, ("tensorboard",)),
    "wandb_lines": Live(check_wandb, ("wandb",)),
    "merged_folder": Live(check_merge, STACK),
    "adapter_folder": Live(check_adapter, STACK),
    "quantized_folder": Live(check_quantize, STACK),
    "report_page": Live(check_report, ("pymupdf",)),
}
