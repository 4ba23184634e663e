#!/usr/bin/env python3
"""Makes generate/tiny_llama.json: what transformers and PEFT generate and merge.

    python make_generate_golden.py [OUT_FILE]

prompts  the first rows of tiny_llama/data.jsonl, cut before the first supervised token, and the
         32 tokens that greedy search appends in float32 without stopping: by the base alone, and by
         the base with adapter_out (both as stored, and over weights that went through NF4)
merged   what merge_and_unload leaves of every linear, for both bases: the L2 norm of its change,
         and elements 0, s, 2s, ... of the merged matrix with s = numel / 48
"""

import argparse
import json
import pathlib
import re

import referee
import peft
import torch

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE / "tiny_llama"
NEW_TOKENS = 32


def dequantized_base():
    """The float32 model whose linears hold what a 4-bit run computes with."""
    quantized = dict(referee.load_base(TINY, nf4=True).named_modules())
    model = referee.load_base(TINY, nf4=False)
    for name, module in model.named_modules():
        if name.split(".")[-1] in referee.TARGETS:
            weight = quantized[name].weight
            # referee.check_dequantized held this against table[code] * scale.
            flat = referee.bnb_functional.dequantize_4bit(weight.data, weight.quant_state)
            module.weight.data = flat.float().reshape(module.weight.shape).clone()
    return model


def greedy(model, ids):
    ids = list(ids)
    start = len(ids)
    for _ in range(NEW_TOKENS):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


def margin(model, ids, new):
    """The smallest lead of a chosen token: where it is tiny, another order of sums may choose."""
    logits = model(input_ids=torch.tensor([ids + new])).logits[0, len(ids) - 1 : -1]
    top = logits.topk(2).values
    return (top[:, 0] - top[:, 1]).min().item()


def merged_summary(base, merged):
    result = {}
    for name, weight in merged.named_parameters():
        if name.split(".")[-2] not in referee.TARGETS:
            assert torch.equal(weight, base[name]), name
            continue
        flat = weight.detach().reshape(-1)
        change = (flat.double() - base[name].reshape(-1).double()).norm().item()
        step = len(flat) // 48
        result[name] = {"change_l2": change, "step": step, "values": flat[::step].tolist()}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE / "generate" / "tiny_llama.json"
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=default)
    out = parser.parse_args().out
    referee.set_threads(1)
    rows = referee.read_rows(TINY / "data.jsonl")[:8]
    prompts = []
    for row in rows:
        first = next(p for p, label in enumerate(row["labels"]) if label != referee.IGNORE)
        prompts.append({"ids": row["input_ids"][: max(first, 1)]})
    result = {
        "versions": {"torch": torch.__version__, "transformers": referee.transformers.__version__,
                     "peft": peft.__version__},
        "prompts": prompts,
        "merged": {},
    }  # fmt: skip
    smallest = 1e9
    with torch.no_grad():
        for kind, load in (("original", lambda: referee.load_base(TINY, nf4=False)),
                           ("dequantized", dequantized_base)):  # fmt: skip
            model = load().eval()
            for prompt in prompts:
                new = prompt[f"{kind}_base"] = greedy(model, prompt["ids"])
                smallest = min(smallest, margin(model, prompt["ids"], new))
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            model = referee.attach_adapter(model, TINY / "adapter_out", trainable=False).eval()
            for prompt in prompts:
                new = prompt[f"{kind}_adapter"] = greedy(model, prompt["ids"])
                smallest = min(smallest, margin(model, prompt["ids"], new))
            result["merged"][kind] = merged_summary(before, model.merge_and_unload())
    print(f"smallest lead of a chosen token: {smallest:.3e}")
    text = json.dumps(result, indent=1)
    # Lists of numbers on one line each.
    text = re.sub(r"\[\s+([-\d][^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    out.parent.mkdir(exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main()
