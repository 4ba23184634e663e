#!/usr/bin/env python3
"""Records what save_pretrained of a 4-bit tiny_llama holds: tests/golden/quantized/tiny_llama.json.

Run with torch 2.15.0, transformers 5.24.0 and bitsandbytes 0.50.2; torch runs on one thread,
because the mean of the scales depends on the number of threads. For each of the settings: the
quantization_config, and of every tensor dtype, shape and fingerprint, which is the sum over its
bytes of (byte[i] + 1) * splitmix64(i) mod 2**64.
"""

import json
import pathlib
import tempfile

import quantized_folder

FOLDER = pathlib.Path(__file__).parent
SETTINGS = {"nf4": ("nf4", True), "fp4": ("fp4", False)}


def main():
    golden = {}
    for name, (quant_type, double_quant) in SETTINGS.items():
        with tempfile.TemporaryDirectory() as out:
            quantized_folder.save(FOLDER / "tiny_llama", out, quant_type, double_quant)
            config = json.loads((pathlib.Path(out) / "config.json").read_text())
            golden[name] = {
                "quantization_config": config["quantization_config"],
                "tensors": quantized_folder.describe(out),
            }
    path = FOLDER / "quantized" / "tiny_llama.json"
    path.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
