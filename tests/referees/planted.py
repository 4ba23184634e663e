#!/usr/bin/env python3
"""Tessera with a fault: runs the program that TESSERA_PROGRAM names with the same arguments, and
changes what it wrote, so little that a referee must look to see it. For check.py --planted."""

import os
import pathlib
import re
import subprocess
import sys


def flip(path):
    """A bit in the middle: of a float32 the highest of the mantissa, of 4-bit codes one of two."""
    data = bytearray(path.read_bytes())
    data[len(data) // 8 * 4 + 2] ^= 0x40
    path.write_bytes(data)


def change(path, pattern, by):
    text, count = re.subn(pattern, by, path.read_text(), count=1)
    assert count == 1, (path, pattern)
    path.write_text(text)


def main():
    command, *arguments = sys.argv[1:]
    code = subprocess.call([os.environ["TESSERA_PROGRAM"], command, *arguments])
    if code != 0:
        return code
    output = pathlib.Path(arguments[arguments.index("--output") + 1]
                          if "--output" in arguments else arguments[-1])  # fmt: skip
    if command in ("merge", "quantize"):
        flip(output / "model.safetensors")
    elif command == "export":
        flip(output)
    elif command == "report":
        change(output, "--page: #0d1117", "--page: #fdfdfd")
    elif command == "train":
        run = pathlib.Path(re.search(r"(?m)^output_dir: (.*)$",
                                     pathlib.Path(arguments[0]).read_text())[1])  # fmt: skip
        change(run / "metrics.jsonl", r'"epoch":0\.', '"epoch":0.00')
        change(run / "adapter_config.json", r"\{", '{"no_key_of_peft": 1,')
    return 0


if __name__ == "__main__":
    sys.exit(main())
