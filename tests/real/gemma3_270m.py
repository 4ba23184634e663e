#!/usr/bin/env python3
"""Gemma 3 270M as published, against transformers, PEFT and bitsandbytes in float64: the loss of
three texts over the weights of a GGUF file (Q4_K_M), three steps of QLoRA over the same weights,
and the plan of that run against the most memory that it had.
Usage: gemma3_270m.py TESSERA FOLDER

The file is FOLDER/gemma-3-270m-q4_k_m.gguf. Where it is not there, launch/get_gemma3_270m.sh gets
it (240 MB). Gemma is under Google's terms of use (https://ai.google.dev/gemma/terms): the file
stays in FOLDER, and nothing of it is committed. ../golden/make_gemma3_270m.py made the numbers.

Takes a minute on two cores, after the download, and 2 GB of memory."""
import array
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = json.loads((HERE.parent / "golden" / "gemma3_270m.json").read_text())
SETTINGS = HERE / "gemma3_270m.yml"
GET = HERE.parent.parent / "launch" / "get_gemma3_270m.sh"
SKIPPED = 77  # ctest's code, as in ../ranks/jobs.sh

# Relative distances to float64. Measured: 2.3e-7 and 2.1e-6 at most; the peer's float32 is 3.7e-6
# and 5.4e-6 off at least, and a window of 511 or 513 tokens moves the longest text's loss by 4e-5.
LOSS, NORM = 1e-6, 5e-6
PLAN = 0.05

HIDDEN, INNER, QUERIES, KEYS, LAYERS, RANK, ALPHA = 640, 2048, 1024, 256, 18, 16, 32
LINEARS = {  # inputs, outputs
    "mlp.down_proj": (INNER, HIDDEN),
    "mlp.gate_proj": (HIDDEN, INNER),
    "mlp.up_proj": (HIDDEN, INNER),
    "self_attn.k_proj": (HIDDEN, KEYS),
    "self_attn.o_proj": (QUERIES, HIDDEN),
    "self_attn.q_proj": (HIDDEN, QUERIES),
    "self_attn.v_proj": (HIDDEN, KEYS),
}


def skip(reason):
    """run.sh knows these two lines."""
    name = pathlib.Path(__file__).name
    print(f"{name}: Skipped\n{name}: {reason}")
    sys.exit(SKIPPED)


def sha256(file):
    digest = hashlib.sha256()
    with open(file, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(file):
    done = subprocess.run([GET, file.parent], capture_output=True, text=True)
    if done.returncode != 0:
        skip(" ".join(done.stderr.splitlines()[-2:]))


def splitmix64(x):
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return x ^ x >> 31


def adapter_shapes():
    """Name and shape of every tensor of the adapter, in the order of the rule."""
    shapes = {}
    for layer in range(LAYERS):
        for linear, (inputs, outputs) in LINEARS.items():
            name = f"base_model.model.model.layers.{layer}.{linear}"
            shapes[f"{name}.lora_A.weight"] = (RANK, inputs)
            shapes[f"{name}.lora_B.weight"] = (outputs, RANK)
    return sorted(shapes.items())


def write_adapter(folder):
    """By the rule in the head of ../golden/referee.py, which needs no library."""
    folder.mkdir()
    header, data = {}, bytearray()
    for t, (name, (rows, columns)) in enumerate(adapter_shapes()):
        scale = 0.01 if ".lora_B." in name else columns**-0.5
        (scale,) = struct.unpack("<f", struct.pack("<f", scale))
        first, begin = 1234 + (t << 32), len(data)
        # An array rounds the exact product once.
        data += array.array("f", (((splitmix64(first + i) >> 40) * 2.0**-23 - 1.0) * scale
                                  for i in range(rows * columns))).tobytes()
        header[name] = {"dtype": "F32", "shape": [rows, columns],
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "r": RANK,
              "lora_alpha": ALPHA, "target_modules": [name.split(".")[1] for name in LINEARS]}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def write_rows(file, samples):
    file.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in samples))
    return f"datasets=[{{path: {file}, type: tokenized}}]"


def run(*command):
    """Its stdout, and the most memory that it had, in bytes."""
    command = list(map(str, command))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
        child = subprocess.Popen(command, stdout=out, stderr=talk, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        if child.returncode != 0:
            sys.exit(f"exit code {child.returncode}: {' '.join(command)}\n{talk.read().decode()}")
        return out.read().decode(), usage.ru_maxrss * 1024


class Comparison:
    """Prints how far each number and the peer's in float32 are from float64."""

    def __init__(self):
        self.faults = 0
        print(f"{'':28}{'float64':>20}{'Tessera':>10}{'peer':>10}{'bound':>10}")

    def hold(self, what, ours, exact, peer, bound):
        distance = abs(ours / exact - 1)
        right = distance <= bound  # no NaN is
        self.faults += not right
        print(f"{what:28}{exact:20.15g}{distance:10.1e}{abs(peer / exact - 1):10.1e}{bound:10.1e}"
              f"{'' if right else '  WRONG'}", flush=True)


def compare_losses(tessera, settings, work, comparison):
    """Over the weights of the file, in float32; each text alone, of which one is longer than the
    window."""
    for s, sample in enumerate(GOLDEN["samples"]):
        rows = write_rows(work / f"{s}.jsonl", [sample["input_ids"]])
        out, _ = run(tessera, "eval", SETTINGS, *settings, rows, "adapter=lora", "adapter=none")
        ours = json.loads(out)
        assert ours["tokens"] == len(sample["input_ids"]) - 1, ours
        comparison.hold(f"loss of {ours['tokens']} tokens", ours["loss"],
                        sample["loss"]["float64"], sample["loss"]["float32"], LOSS)


def compare_training(tessera, settings, work, comparison):
    write_adapter(work / "adapter")
    rows = write_rows(work / "all.jsonl", [sample["input_ids"] for sample in GOLDEN["samples"]])
    arguments = [SETTINGS, *settings, rows, f"lora_model_dir={work}/adapter"]
    planned = json.loads(run(tessera, "plan", "--json", *arguments)[0])["peak"]
    _, peak = run(tessera, "train", *arguments)
    steps = [json.loads(line) for line in (work / "run/metrics.jsonl").read_text().splitlines()]
    steps = [step for step in steps if "grad_norm" in step]
    exact, peer = GOLDEN["nf4"]["float64"], GOLDEN["nf4"]["float32"]
    assert len(steps) == len(exact), steps
    for s, step in enumerate(steps):
        for key, bound in (("loss", LOSS), ("grad_norm", NORM)):
            comparison.hold(f"step {s + 1}, {key}", step[key], exact[s][key], peer[s][key], bound)
    off = peak / planned - 1
    right = abs(off) <= PLAN
    comparison.faults += not right
    print(f"planned {planned >> 20} MiB, resident {peak >> 20} MiB: {100 * off:+.1f} %"
          f"{'' if right else '  WRONG'}")


def main():
    tessera, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    file = folder / GOLDEN["file"]["name"]
    if not file.exists():
        download(file)
    if sha256(file) != GOLDEN["file"]["sha256"]:
        sys.exit(f"{file} has another SHA-256 than {GOLDEN['file']['sha256']}; remove it")
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        settings = [f"base_model={file}", f"output_dir={work}/run"]
        comparison = Comparison()
        compare_losses(tessera, settings, work, comparison)
        compare_training(tessera, settings, work, comparison)
    sys.exit(f"{comparison.faults} numbers are wrong" if comparison.faults else 0)


if __name__ == "__main__":
    main()
