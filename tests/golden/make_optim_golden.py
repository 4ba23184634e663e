#!/usr/bin/env python3
"""Writes optim/adamw.json, optim/clip.json and optim/schedule.json from torch and transformers.

    python make_optim_golden.py        # torch 2.15.0, transformers 5.23.0, on the CPU

Inputs follow a rule that needs no library. splitmix64 is the usual one; for a stream s and index i,
h = splitmix64(s * 2**32 + i), u = (h >> 40) * 2**-23 - 1 (exact in float32, in [-1, 1)) and
value = u * 2**-((h & 15)), exact as well.

torch takes square roots of float32 from MKL, whose last bit is not always right and differs between
CPUs. The optimizer therefore runs with a correctly rounded Tensor.sqrt; everything else in it is
torch's. adamw.json also holds the result of the untouched torch, for a comparison with a tolerance.
Float32 results are stored as their bits.
"""

import json
import math
import pathlib

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent / "optim"
MASK = 2**64 - 1
ELEMENTS = 100
STEPS = 10


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def values(stream, count):
    hashes = [splitmix64((stream << 32) + i) for i in range(count)]
    floats = [((h >> 40) * 2.0**-23 - 1.0) * 2.0 ** -(h & 15) for h in hashes]
    return torch.tensor(floats, dtype=torch.float32)


def bits(tensor):
    return tensor.detach().numpy().view(np.uint32).tolist()


TORCH_SQRT = torch.Tensor.sqrt


def rounded_sqrt(tensor):
    return TORCH_SQRT(tensor.double()).float()


def run_adamw(case):
    """Parameters are stream 1; the gradient of step t (from 1) is stream 100 + t."""
    param = torch.nn.Parameter(values(1, ELEMENTS))
    optimizer = torch.optim.AdamW(
        [param],
        lr=case["learning_rate"],
        betas=(case["beta1"], case["beta2"]),
        eps=case["eps"],
        weight_decay=case["weight_decay"],
        foreach=False,
        fused=False,
    )
    snapshots = []
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = case["learning_rate"] * step / STEPS
        param.grad = values(100 + step, ELEMENTS) * np.float32(case["grad_scale"])
        optimizer.step()
        if step in (1, 2, STEPS):
            state = optimizer.state[param]
            snapshots.append(
                {
                    "step": step,
                    "params": bits(param),
                    "m": bits(state["exp_avg"]),
                    "v": bits(state["exp_avg_sq"]),
                }
            )
    return snapshots


def adamw_golden():
    base = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    cases = [
        base | {"weight_decay": 0.1, "grad_scale": 1.0},
        base | {"weight_decay": 0.0, "grad_scale": 0.3},
        base | {"beta1": 0.25, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.01, "grad_scale": 1.0},
    ]
    for case in cases:
        torch.Tensor.sqrt = rounded_sqrt
        case["snapshots"] = run_adamw(case)
        torch.Tensor.sqrt = TORCH_SQRT
        case["untouched_params"] = run_adamw(case)[-1]["params"]
    return {"elements": ELEMENTS, "steps": STEPS, "cases": cases}


def clip_golden():
    """Gradients are stream 7, scaled so that the norm lies on both sides of max_norm."""
    cases = []
    for count, scale, max_norm in [
        (1, 1.0, 1.0), (17, 1.0, 1.0), (4096, 1.0, 1.0), (4097, 0.25, 1.0), (20000, 1.0, 0.3),
        (20000, 2.0**-6, 1.0), (20000, 2.0**-12, 1e-3),
    ]:
        grads = values(7, count) * np.float32(scale)
        param = torch.nn.Parameter(torch.zeros(count))
        param.grad = torch.ones(count)
        exact = math.sqrt(math.fsum(float(g) ** 2 for g in grads))
        # Ones are scaled by a norm handed in, so the factor itself can be read off.
        torch.nn.utils.clip_grads_with_norm_([param], max_norm, torch.tensor(exact))
        norm = torch.nn.utils.get_total_norm([grads])
        cases.append(
            {"count": count, "scale": scale, "max_norm": max_norm, "exact_norm": exact,
             "torch_norm": float(norm), "factor": bits(param.grad[:1])[0]}
        )
    return {"cases": cases}


def schedule_golden():
    cases = []
    for name in ("linear", "cosine", "constant", "constant_with_warmup"):
        for warmup, total in [(0, 10), (1, 1), (3, 20), (10, 10), (12, 10), (0, 1), (30, 1000)]:
            param = torch.nn.Parameter(torch.zeros(1))
            optimizer = torch.optim.SGD([param], lr=3e-4)
            schedule = transformers.get_scheduler(name, optimizer, warmup, total)
            rates = []
            stride = 1 if total <= 20 else 37
            for step in range(total + 3):
                if step % stride == 0:
                    rates.append([step, schedule.get_last_lr()[0]])
                optimizer.step()
                schedule.step()
            cases.append({"name": name, "warmup": warmup, "total": total, "rates": rates})
    ratios = []
    for ratio in (0.0, 0.03, 0.05, 0.1, 0.333, 0.7, 0.99):
        for total in (1, 7, 10, 100, 1000, 12345):
            args = transformers.TrainingArguments(warmup_steps=ratio, use_cpu=True)
            ratios.append([ratio, total, args.get_warmup_steps(total)])
    return {"learning_rate": 3e-4, "cases": cases, "ratios": ratios}


def main():
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    HERE.mkdir(exist_ok=True)
    for name, golden in [
        ("adamw", adamw_golden()), ("clip", clip_golden()), ("schedule", schedule_golden()),
    ]:
        text = json.dumps({"versions": versions} | golden)
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
