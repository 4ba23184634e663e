#!/usr/bin/env python3
"""Makes attention.json: transformers' attention and torch's gradients of it, in float64.

    python make_attention_golden.py [OUT_FILE]

Inputs are the grid below, which the test repeats; each result keeps every STRIDE-th element of its
row-major order. The mask is transformers' sliding window (or causal) mask, sample by sample.
"""

import json
import pathlib
import sys

import torch
from transformers import masking_utils
from transformers.models.gemma2 import modeling_gemma2

STRIDE = 31
CASES = {
    "causal": dict(heads=6, kv_heads=2, head_dim=24, lengths=[3, 70], window=0, softcap=0.0),
    "window": dict(heads=2, kv_heads=2, head_dim=16, lengths=[150], window=40, softcap=0.0),
    "softcap": dict(heads=4, kv_heads=1, head_dim=8, lengths=[66, 20], window=0, softcap=2.5),
}


def grid(count, seed):
    """Multiples of 2^-9 in [-2, 2): exact in float32."""
    i = torch.arange(count, dtype=torch.int64)
    x = (i * 7919 + seed * 104729) * (i % 97 + 1) % 2048
    return (x - 1024).double() / 512


def mask_of(length, window):
    sees = masking_utils.causal_mask_function
    if window:
        sees = masking_utils.sliding_window_causal_mask_function(window)
    rows = torch.arange(length)
    visible = sees(0, 0, rows[:, None], rows[None, :])
    return torch.zeros(length, length, dtype=torch.float64).masked_fill(~visible, -torch.inf)


class Module:
    training = False

    def __init__(self, groups):
        self.num_key_value_groups = groups


def run(case):
    heads, kv_heads, dim = case["heads"], case["kv_heads"], case["head_dim"]
    tokens = sum(case["lengths"])
    q = grid(tokens * heads * dim, 1).view(tokens, heads, dim).requires_grad_()
    k = grid(tokens * kv_heads * dim, 2).view(tokens, kv_heads, dim).requires_grad_()
    v = grid(tokens * kv_heads * dim, 3).view(tokens, kv_heads, dim).requires_grad_()
    dout = grid(tokens * heads * dim, 4).view(tokens, heads, dim)
    scale, softcap = dim**-0.5, case["softcap"] or None
    outs, sums, at = [], [], 0
    for length in case["lengths"]:
        part = [x[at : at + length].transpose(0, 1)[None] for x in (q, k, v)]
        mask = mask_of(length, case["window"])
        module = Module(heads // kv_heads)
        out, _ = modeling_gemma2.eager_attention_forward(
            module, *part, mask, scaling=scale, softcap=softcap
        )
        outs.append(out[0])
        keys = modeling_gemma2.repeat_kv(part[1], heads // kv_heads)
        logits = part[0] @ keys.transpose(2, 3) * scale
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap
        sums.append(torch.logsumexp(logits + mask, -1)[0])
        at += length
    out = torch.cat(outs)
    (out * dout).sum().backward()
    results = dict(out=out, lse=torch.cat(sums, 1), dq=q.grad, dk=k.grad, dv=v.grad)
    return case | {
        name: [float(f"{x:.9g}") for x in value.detach().flatten()[::STRIDE].tolist()]
        for name, value in results.items()
    }


def main():
    here = pathlib.Path(__file__).resolve().parent
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "attention.json"
    lines = [f"{json.dumps(name)}: {json.dumps(run(case))}" for name, case in CASES.items()]
    target.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
