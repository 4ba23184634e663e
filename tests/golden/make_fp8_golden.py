#!/usr/bin/env python3
"""Records how transformers decodes 8-bit floats: tests/golden/quantized/fp8.json.

Run with torch 2.15.0 and transformers 5.24.0. A weight [256, 128] in E4M3 has the codes
splitmix64(i) & 0xff, with 0x7f and 0xff (not a number) replaced by 0x7e; scale j is
float32((splitmix64(1000 + j) >> 40) * 2**-24 + 2**-10), in bfloat16 where the case says so.

    codes   the float32 bits of all 256 codes, as torch widens them
    cases   shape and dtype of the scales, dtype of the decoded weight and its fingerprint, which is
            the sum over its bytes of (byte[i] + 1) * splitmix64(i) mod 2**64
"""

import json
import pathlib

import numpy as np
import quantized_folder
import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

ROWS, COLS = 256, 128
SHAPES = [[2, 1], [ROWS, 1], [1], []]
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def hashes(start, count):
    return quantized_folder.splitmix64(np.arange(start, start + count, dtype=np.uint64))


def fp8(codes):
    return torch.from_numpy(codes.astype(np.uint8)).view(torch.float8_e4m3fn)


def main():
    codes = hashes(0, ROWS * COLS) & np.uint64(0xFF)
    codes[(codes & np.uint64(0x7F)) == 0x7F] = 0x7E
    weight = fp8(codes).reshape(ROWS, COLS)
    cases = []
    for shape in SHAPES:
        for scale_type in TYPES:
            count = int(np.prod(shape))
            values = (hashes(1000, count) >> np.uint64(40)).astype(np.float64) * 2.0**-24 + 2.0**-10
            scales = torch.from_numpy(values.astype(np.float32)).reshape(shape)
            scales = scales.to(TYPES[scale_type])
            for out_type in ("F32", "BF16"):
                decoded = Fp8Dequantize(None)._dequantize_one(weight, scales, TYPES[out_type])
                data = decoded.contiguous().view(torch.uint8).numpy().tobytes()
                cases.append(
                    {
                        "shape": shape,
                        "scales": scale_type,
                        "decoded": out_type,
                        "fingerprint": f"{quantized_folder.fingerprint(data):016x}",
                    }
                )
    table = fp8(np.arange(256)).float().view(torch.int32).numpy().astype(np.uint32)
    golden = {"codes": [f"{bits:08x}" for bits in table], "cases": cases}
    path = pathlib.Path(__file__).parent / "quantized" / "fp8.json"
    path.write_text(json.dumps(golden, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
