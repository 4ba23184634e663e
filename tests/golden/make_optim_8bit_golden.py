#!/usr/bin/env python3
"""Writes optim/adamw_8bit.json: AdamW with 8-bit moments, by bitsandbytes' published rule.

    python make_optim_8bit_golden.py   # numpy, torch 2.15.0, bitsandbytes 0.50.2, on the CPU

The rule is that of the CUDA kernel kOptimizerStatic8bit2StateBlockwise (csrc of bitsandbytes), done
here in numpy with one rounding to float32 for every operation:

* codes decode to entry * absmax; blocks have 256 elements; absmax is the block's largest magnitude;
* v = v * beta2 + (1 - beta2) * g * g, m = m * beta1 + (1 - beta1) * g, 1 - beta in float32;
* p += step * (m / (sqrt(v) + eps * c2)) with step = -lr * c2 / c1, c1 = 1 - beta1^t and
  c2 = sqrt(1 - beta2^t) in double, each scalar rounded once; then p *= 1 - lr * weight_decay;
* a gradient that is not finite leaves its parameter and zeroes its moments;
* the code is found by the kernel's binary search, and m's code keeps m's sign.

One thing differs on purpose: a block of zeros, where the kernel divides 0 by 0, encodes as zeros.
It decodes to zeros either way.

bitsandbytes' own CPU path is another rule: it decays first, and encodes through a table of 65,536
points whose entries near zero are not the nearest. The file holds the parameters it makes in one of
the steps, for a comparison with a tolerance.
"""

import json
import math
import pathlib

import bitsandbytes.functional as bnb
import numpy as np
import torch

from make_optim_golden import bits, values

OUT = pathlib.Path(__file__).parent / "optim" / "adamw_8bit.json"
ELEMENTS = 600  # two blocks and a part of one
STEPS = 10
BLOCK = 256
F = np.float32
SIGNED = bnb.create_dynamic_map(signed=True).numpy()
UNSIGNED = bnb.create_dynamic_map(signed=False).numpy()


def search(entries, x, lower):
    """quantize_2D: seven halvings from 127, then the midpoint to the neighbour on x's side."""
    pivot, low, high, upper = 127, 0, 255, F(1.0)
    for stride in (64, 32, 16, 8, 4, 2, 1):
        if x > entries[pivot]:
            low, lower = pivot, entries[pivot]
            pivot += stride
        else:
            high, upper = pivot, entries[pivot]
            pivot -= stride
    value = entries[pivot]
    if x > value:
        return high if x > (upper + value) * F(0.5) else pivot
    return low if x < (lower + value) * F(0.5) else pivot


def code_of(x, signed):
    if not signed:
        return search(UNSIGNED, x, F(0.0))
    code = search(SIGNED, x, F(-1.0))
    if np.signbit(SIGNED[code]) != np.signbit(x):
        code += 1 if x > 0 else -1
    return code


def encode(block, signed):
    absmax = np.max(np.abs(block))
    scaled = block / absmax if absmax != 0 else block
    return np.array([code_of(x, signed) for x in scaled], np.uint8), absmax


def step(case, state, t, lr, grad):
    beta1, beta2 = F(case["beta1"]), F(case["beta2"])
    correction1 = 1.0 - case["beta1"] ** t
    correction2 = math.sqrt(1.0 - case["beta2"] ** t)
    step_size = F(-lr * correction2 / correction1)
    eps = F(case["eps"] * correction2)
    for first in range(0, ELEMENTS, BLOCK):
        block, which = slice(first, first + BLOCK), first // BLOCK
        g = grad[block]
        finite = np.isfinite(g)
        g = np.where(finite, g, F(0)) * F(case["grad_scale"])
        v = UNSIGNED[state["v_codes"][block]] * state["v_absmax"][which]
        m = SIGNED[state["m_codes"][block]] * state["m_absmax"][which]
        v = np.where(finite, v * beta2 + (F(1) - beta2) * g * g, F(0))
        m = np.where(finite, m * beta1 + (F(1) - beta1) * g, F(0))
        p = state["params"][block]
        moved = (p + step_size * (m / (np.sqrt(v) + eps))) * F(1.0 - lr * case["weight_decay"])
        state["params"][block] = np.where(finite, moved, p)
        state["m_codes"][block], state["m_absmax"][which] = encode(m, signed=True)
        state["v_codes"][block], state["v_absmax"][which] = encode(v, signed=False)


def gradient(t):
    """Stream 100 + t; the second block is zero in the first two steps, as a LoRA A's are in one."""
    grad = values(100 + t, ELEMENTS).numpy().copy()
    if t <= 2:
        grad[BLOCK : 2 * BLOCK] = 0
    return grad


def fresh_state():
    blocks = -(-ELEMENTS // BLOCK)
    return {
        "params": values(1, ELEMENTS).numpy().copy(),
        "m_codes": np.zeros(ELEMENTS, np.uint8),
        "v_codes": np.zeros(ELEMENTS, np.uint8),
        "m_absmax": np.zeros(blocks, F),
        "v_absmax": np.zeros(blocks, F),
    }


def bitsandbytes_step(case, state, t, lr, grad):
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    bnb.optimizer_update_8bit_blockwise(
        "adam", torch.from_numpy(grad), tensors["params"], tensors["m_codes"], tensors["v_codes"],
        case["beta1"], case["beta2"], 0.0, 0.0, case["eps"], t, lr,
        torch.from_numpy(SIGNED), torch.from_numpy(UNSIGNED),
        tensors["m_absmax"], tensors["v_absmax"], case["weight_decay"], case["grad_scale"],
    )


def snapshot(t, state):
    result = {"step": t, "params": bits(torch.from_numpy(state["params"]))}
    for moment in ("m", "v"):
        result[f"{moment}_codes"] = state[f"{moment}_codes"].tobytes().hex()
        result[f"{moment}_absmax"] = bits(torch.from_numpy(state[f"{moment}_absmax"]))
    return result


def run(case):
    """One step of either rule from the state of the published one, ten times."""
    state, snapshots, agreeing, largest = fresh_state(), [], [0, 0], 0.0
    for t in range(1, STEPS + 1):
        lr = case["learning_rate"] * t / STEPS
        theirs = {name: array.copy() for name, array in state.items()}
        bitsandbytes_step(case, theirs, t, lr, gradient(t))
        step(case, state, t, lr, gradient(t))
        for i, moment in enumerate(("m_codes", "v_codes")):
            agreeing[i] += int(np.sum(theirs[moment] == state[moment]))
        difference = np.abs(theirs["params"] - state["params"])
        largest = max(largest, float(np.max(difference)))
        if t == 3:
            with_theirs = {"bitsandbytes_params": bits(torch.from_numpy(theirs["params"]))}
        if t in (1, 3, STEPS):
            snapshots.append(snapshot(t, state) | (with_theirs if t == 3 else {}))
    print(f"of {ELEMENTS * STEPS} codes bitsandbytes on the CPU has {agreeing[0]} of m and "
          f"{agreeing[1]} of v; its parameters differ by at most {largest:.1e} a step")
    case["snapshots"] = snapshots


def nan_case():
    """Gradients that are not finite in one step."""
    case = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "grad_scale": 1.0}
    state = fresh_state()
    step(case, state, 1, 1e-2, gradient(3))
    grad = gradient(4)
    grad[[5, 300, 599]] = [np.nan, np.inf, -np.inf]
    step(case, state, 2, 1e-2, grad)
    return snapshot(2, state)


def codes():
    """Codes of every entry, then of the points at, next below and next above every midpoint."""
    rows = {}
    for name, entries in (("signed", SIGNED), ("unsigned", UNSIGNED)):
        middle = (entries[:-1] + entries[1:]) * F(0.5)
        points = np.concatenate(
            [entries, middle, np.nextafter(middle, F(-2)), np.nextafter(middle, F(2))])
        of_points = [code_of(x, name == "signed") for x in points]
        rows[name] = np.array(of_points, np.uint8).tobytes().hex()
    return rows


def main():
    torch.set_num_threads(1)
    base = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    cases = [
        base | {"weight_decay": 0.0, "grad_scale": 1.0},
        base | {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "grad_scale": 0.3},
    ]
    for case in cases:
        run(case)
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    golden = {"versions": versions, "elements": ELEMENTS, "steps": STEPS, "cases": cases,
              "not_finite": nan_case(), "codes": codes()}
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
