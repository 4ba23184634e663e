"""4-bit model folders as transformers saves them, and what their tensors are."""

from referee import splitmix64  # first: it sets the environment for torch

import json
import pathlib
import struct

import numpy as np
import torch
import transformers


def load(folder, **options):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", device_map={"": "cpu"}, **options
    )


def save(base, out, quant_type, double_quant):
    """The base's linears in blocks of 64; all else in the base's dtype."""
    torch.set_num_threads(1)
    dtype = transformers.AutoConfig.from_pretrained(base).dtype or torch.float32
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quant_type,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    load(base, quantization_config=config).save_pretrained(out)


def fingerprint(data):
    values = np.frombuffer(data, np.uint8).astype(np.uint64) + np.uint64(1)
    with np.errstate(over="ignore"):
        return int((values * splitmix64(np.arange(len(data), dtype=np.uint64))).sum())


def tensors(folder):
    """Name, dtype, shape and bytes of every tensor in the folder's safetensors."""
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                yield name, entry["dtype"], entry["shape"], data[8 + size + begin : 8 + size + end]


def describe(folder):
    return {
        name: {"dtype": dtype, "shape": shape, "fingerprint": f"{fingerprint(data):016x}"}
        for name, dtype, shape, data in tensors(folder)
    }
