#!/usr/bin/env python3
"""Makes safetensors/mixed.safetensors with the safetensors package: several dtypes, a scalar, an
empty tensor and an escaped name. The writer of the project has to give the same bytes.

    python make_safetensors_golden.py

Needs torch, safetensors.
"""

import pathlib

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "safetensors"


def main():
    OUT.mkdir(exist_ok=True)
    torch.manual_seed(1)
    tensors = {
        "z.weight": torch.randn(3, 5),
        "a.weight": torch.randn(2, 7),
        "half": torch.randn(4).to(torch.float16),
        "brain": torch.randn(3, 1).to(torch.bfloat16),
        "codes": torch.arange(11, dtype=torch.uint8),
        "count": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0, 4),
        'quoted "name" \\ é': torch.arange(3, dtype=torch.int8),
        "flags": torch.tensor([True, False, True]),
        "index": torch.arange(2, dtype=torch.int32),
        "short": torch.arange(2, dtype=torch.int16),
        "wide": torch.randn(2, dtype=torch.float64),
        "small": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
        "smaller": torch.tensor([1.0, -2.0]).to(torch.float8_e5m2),
    }
    save_file(tensors, OUT / "mixed.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
