#!/usr/bin/env python3
"""Writes optim/schedulers.json: the learning rates of the schedulers that take arguments.

    python make_schedule_golden.py    # torch 2.15.0, transformers 5.24.0, axolotl 0.19.0

Rates are floats in hexadecimal. Those of transformers come from its get_scheduler, those of
axolotl's cosine with a floor from axolotl/utils/schedulers.py. That file is loaded alone, so that
axolotl may be installed without what it depends on.
"""

import importlib.util
import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent / "optim"
PEAK = 3e-4

# Warm-up and all steps. The last one is looked at every 37 steps.
LENGTHS = [(0, 10), (3, 20), (10, 10), (12, 10), (0, 1), (30, 1000)]

TRANSFORMERS = [
    ("cosine", {"num_cycles": 1.25}),
    ("cosine", {"num_cycles": 3}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}),
    ("polynomial", {"lr_end": 1e-5, "power": 2.0}),
    ("polynomial", {"lr_end": 0.0, "power": 0.5}),
    ("polynomial", {"power": 3.7}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 5}),
    ("inverse_sqrt", {"timescale": 700}),
    ("cosine_with_min_lr", {"min_lr": 2e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.3, "num_cycles": 2.5}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-6, "warmup_lr_rate": 0.05, "num_cycles": 1.5}),
    ("warmup_stable_decay", {"num_decay_steps": 5}),
    ("warmup_stable_decay", {"num_decay_steps": 8, "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay",
     {"num_decay_steps": 6, "num_stable_steps": 4, "warmup_type": "cosine", "num_cycles": 1.5,
      "min_lr_ratio": 0.05}),
    ("warmup_stable_decay",
     {"num_decay_steps": 300, "num_stable_steps": 500, "warmup_type": "1-sqrt",
      "decay_type": "1-sqrt", "min_lr_ratio": 0.2}),
]
# cosine_min_lr_ratio, and cosine_constant_lr_ratio or None.
AXOLOTL = [(0.1, None), (0.37, None), (0.1, 0.8), (0.25, 0.63), (0.5, 1.0)]


def rates_of(make, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = make(optimizer)
    stride = 1 if total <= 20 else 37
    rates = []
    for step in range(total + 3):
        if step % stride == 0:
            rates.append([step, schedule.get_last_lr()[0].hex()])
        optimizer.step()
        try:
            schedule.step()
        except ZeroDivisionError:  # polynomial divides by the steps after the warm-up
            break
    return rates


def transformers_cases():
    cases = []
    for name, arguments in TRANSFORMERS:
        for warmup, total in LENGTHS:
            def make(optimizer):
                return transformers.get_scheduler(
                    name, optimizer, warmup, total, scheduler_specific_kwargs=arguments)
            try:
                rates = rates_of(make, total)
            except ZeroDivisionError:
                continue
            cases.append({"name": name, "arguments": arguments, "warmup": warmup, "total": total,
                          "rates": rates})
    return cases


def axolotl_cases():
    package = importlib.util.find_spec("axolotl").submodule_search_locations[0]
    path = pathlib.Path(package) / "utils" / "schedulers.py"
    spec = importlib.util.spec_from_file_location("schedulers", path)
    schedulers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schedulers)
    cases = []
    for least, constant in AXOLOTL:
        for warmup, total in LENGTHS:
            if constant is not None and int(total * constant) < warmup:
                continue
            def make(optimizer):
                if constant is None:
                    return schedulers.get_cosine_schedule_with_min_lr(
                        optimizer, warmup, total, least)
                return schedulers.get_cosine_schedule_with_warmup_decay_constant(
                    optimizer, warmup, total, constant, least)
            cases.append({"min_ratio": least, "constant_ratio": constant or 0, "warmup": warmup,
                          "total": total, "rates": rates_of(make, total)})
    return cases


def main():
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "axolotl": "0.19.0"},
        "learning_rate": PEAK,
        "transformers": transformers_cases(),
        "axolotl": axolotl_cases(),
    }
    (HERE / "schedulers.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
