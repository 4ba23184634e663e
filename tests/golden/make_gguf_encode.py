#!/usr/bin/env python3
"""Makes gguf_encode/blocks.safetensors: the bytes that llama.cpp gives to known values.

    python make_gguf_encode.py   # numpy, xxhash, safetensors, llama-cpp-python 0.3.36

ggml_quantize_chunk without an importance matrix encodes ROWS rows of COLUMNS values. TYPE.blocks
has the rows of the first round over all kinds of rows, TYPE.hash the XXH3 (64 bits, seed 0, in
bytes with the lowest first) of all rows. --library names libggml-base.so where it is not the one of
llama-cpp-python.

Row r is of kind r % KINDS; column c of it has h = splitmix64(r * COLUMNS + c) and the float32
u = (h >> 40) * 2**-23 - 1, in [-1, 1). values_of() makes the value from those in float32;
tests/runtime/gguf_encode_test.cpp does the same.
"""

import argparse
import ctypes
import importlib.util
import pathlib

import numpy as np
import xxhash
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parent / "gguf_encode"
KINDS, ROUNDS, COLUMNS = 15, 60, 512
ROWS = KINDS * ROUNDS
# The number of the type, its elements and its bytes per block.
TYPES = {"F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
         "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "BF16": (30, 1, 2)}
F = np.float32


def splitmix64(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def power(exponent):
    return np.ldexp(F(1), exponent).astype(F)


def values_of(kind, h, u):
    column = np.arange(COLUMNS)
    low = h.astype(np.int64) & 31
    return {
        0: u,
        1: u * u * u,                                      # most values are small
        2: np.where(h & np.uint64(7), F(0), u),            # most are zero
        3: u[column // 32 * 32],                           # one value in each 32
        4: u * power(-10) - F(1),                          # near -1
        5: u * power(-10) + F(1),                          # near 1
        6: u * power(-low),                                # many magnitudes in a group
        7: u * power(-(column // 32)),                     # groups of many magnitudes
        8: np.where(column == 77, F(100), u * power(-6)),  # an outlier
        9: (low - 15).astype(F) * F(0.25),                 # ties when rounded
        10: np.where(h & np.uint64(1), F(-0.0), F(0)),     # zeros of both signs
        11: u * power(-130),                               # subnormal
        12: u * power(-20),                                # the scales are subnormal float16
        13: u * power(15),                                 # large for float16
        14: np.where(column % 32 == 0, F(127), low.astype(F) - F(15.5)),  # ties of Q8_0
    }[kind].astype(F)


def all_rows():
    index = np.arange(ROWS * COLUMNS, dtype=np.uint64).reshape(ROWS, COLUMNS)
    hashes = splitmix64(index)
    units = (hashes >> np.uint64(40)).astype(F) * F(2**-23) - F(1)
    return np.stack([values_of(r % KINDS, hashes[r], units[r]) for r in range(ROWS)])


def library_of_package():
    package = importlib.util.find_spec("llama_cpp").submodule_search_locations[0]
    return pathlib.Path(package) / "lib" / "libggml-base.so"


def quantize(ggml, rows, kind):
    number, elements, size = TYPES[kind]
    blocks = np.zeros(rows.size // elements * size, dtype=np.uint8)
    ggml.ggml_quantize_init(number)
    written = ggml.ggml_quantize_chunk(number, rows.ctypes.data, blocks.ctypes.data, 0, ROWS,
                                       COLUMNS, None)
    assert written == blocks.size, kind
    assert ggml.ggml_validate_row_data(number, blocks.ctypes.data, blocks.size), kind
    return blocks.reshape(ROWS, -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=pathlib.Path)
    ggml = ctypes.CDLL(str(parser.parse_args().library or library_of_package()))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                         ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_void_p]
    ggml.ggml_validate_row_data.restype = ctypes.c_bool
    ggml.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    rows = np.ascontiguousarray(all_rows())
    tensors = {}
    for kind in TYPES:
        blocks = quantize(ggml, rows, kind)
        digest = xxhash.xxh3_64_intdigest(blocks.tobytes(), seed=0)
        tensors[f"{kind}.blocks"] = blocks[:KINDS].copy()
        tensors[f"{kind}.hash"] = np.frombuffer(digest.to_bytes(8, "little"), dtype=np.uint8)
    OUT.mkdir(exist_ok=True)
    save_file(tensors, OUT / "blocks.safetensors")


if __name__ == "__main__":
    main()
