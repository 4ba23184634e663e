#!/usr/bin/env python3
"""Writes ops/label_smoothing.json: smoothed cross-entropy in float64, and its gradient.

    python make_label_smoothing_golden.py    # torch 2.15.0, transformers 5.24.0

The losses are those of torch's cross_entropy in float64. The script checks that the mean over the
tokens is what transformers' LabelSmoother gives, which adds up the vocabulary in float32.
"""

import json
import pathlib

import torch
import transformers
from transformers.trainer_pt_utils import LabelSmoother

OUT = pathlib.Path(__file__).parent / "ops" / "label_smoothing.json"
TOKENS, VOCAB = 6, 37
SCALE = 0.25


def case(logits, targets, smoothing):
    # The operator gets the factor in float32.
    smoothing = torch.tensor(smoothing, dtype=torch.float32).item()
    x = logits.double().requires_grad_(True)
    losses = torch.nn.functional.cross_entropy(
        x, targets, reduction="none", label_smoothing=smoothing)
    (losses.sum() * SCALE).backward()
    smoother = LabelSmoother(epsilon=smoothing)
    peers = smoother({"logits": logits.double()[None]}, targets[None])
    assert abs(peers.item() - losses.mean().item()) < 2e-7 * losses.mean().item()
    return {"smoothing": smoothing, "losses": losses.tolist(),
            "dlogits": x.grad.flatten().tolist()}


def main():
    torch.manual_seed(1)
    logits = torch.randn(TOKENS, VOCAB) * 3
    targets = torch.tensor([0, 36, 5, 17, 5, 30])
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "logits": logits.flatten().tolist(),
        "targets": targets.tolist(),
        "scale": SCALE,
        "cases": [case(logits, targets, smoothing) for smoothing in (0.0, 0.1, 0.5)],
    }
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
