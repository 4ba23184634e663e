"""Records what bitsandbytes makes of deterministic tensors: tests/golden/quant/*.txt.

Run with torch 2.15.0 and bitsandbytes 0.50.2; torch runs on one thread, because the mean of the
scales depends on the number of threads. Inputs follow a rule that needs no library:

    h(i)     = splitmix64(seed + i)
    bell(i)  = (sum of the four 16-bit fields of h(i) - 131070) * 2**-17     exact in float32
    value(i) = bell(i) * scale, float32, rounded once; then rounded to the input's type
    splitmix64(x): x += 0x9E3779B97F4A7C15; x = (x ^ x>>30) * 0xBF58476D1CE4E5B9;
                   x = (x ^ x>>27) * 0x94D049BB133111EB; return x ^ x>>31     (all mod 2**64)

Kinds of input (n elements):
    bell       scale 0.05
    zeros      bell, with element i set to 0 where (i // 64) % 3 == 1
    constant   0.37 everywhere
    ties       element 0 of every 64 is 1; the others walk over the 15 thresholds, each as it is,
               one ulp down and one ulp up: with j = i % 64 - 1, threshold (j // 3) % 15, step j % 3
    ties0.3    ties times 0.3, where a division and a product with the reciprocal part
    tiny       scale 2**-126, about where bitsandbytes floors a scale
    subnormal  scale 2**-140
    huge       scale 2**127; not double quantized, as bitsandbytes overflows there silently

An array is summarized by the fingerprint sum of (bits[i] + 1) * splitmix64(i) mod 2**64, with
bits[i] the element's bit pattern. Files:

    maps.txt        the 16 NF4 values, 16 FP4 values, 15 thresholds of each, 256 signed and 256
                    unsigned map entries: f32 bits
    blockwise4.txt  one case per line: format block double_quant rows cols type kind, then the
                    fingerprints of codes, scales (8-bit codes with double quantization), nested
                    scales and the dequantized tensor (in the input's type), and the offset's bits.
                    bitsandbytes decodes FP4's code 8 to +0 where the last dim is a multiple of 64
                    or odd and to -0 elsewhere, so zeros of a dequantized FP4 tensor are made plain
    mean.txt        n and the bits of torch.mean over n values |bell| (seed 7)
    small.txt       every byte of a few small results, for reading: format block n, then code bytes
                    in hex and scales as f32 bits
"""

import os
import pathlib

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # bitsandbytes compiles some of its own fallbacks
os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")

import bitsandbytes
import bitsandbytes.functional as bnb
import numpy as np
import torch
from bitsandbytes.backends.default.ops import _get_4bit_quantize_bounds

FOLDER = pathlib.Path(__file__).parent / "quant"
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def splitmix64(x):
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def bell(n, seed, scale):
    h = splitmix64(np.arange(n, dtype=np.uint64) + np.uint64(seed))
    total = sum(((h >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) for k in range(4))
    return ((total - 131070).astype(np.float32) * np.float32(2.0**-17)) * np.float32(scale)


def thresholds(fmt):
    return _get_4bit_quantize_bounds(fmt, torch.device("cpu"))[0].numpy()


def make_input(fmt, kind, n):
    i = np.arange(n)
    if kind == "constant":
        return np.full(n, 0.37, np.float32)
    if kind == "ties0.3":
        return make_input(fmt, "ties", n) * np.float32(0.3)
    if kind == "ties":
        t = thresholds(fmt)
        walk = np.stack([t, np.nextafter(t, np.float32(-2)), np.nextafter(t, np.float32(2))], 1)
        j = i % 64 - 1
        x = walk[(j // 3) % 15, j % 3].astype(np.float32)
        x[i % 64 == 0] = 1
        return x
    scale = {"tiny": 2.0**-126, "subnormal": 2.0**-140, "huge": 2.0**127}.get(kind, 0.05)
    x = bell(n, 1234, scale)
    if kind == "zeros":
        x[(i // 64) % 3 == 1] = 0
    return x


def bits_of(t):
    a = t.detach().contiguous().flatten()
    if a.dtype == torch.uint8:
        return a.numpy()
    return a.view(torch.int32 if a.dtype == torch.float32 else torch.int16).numpy().view(
        np.uint32 if a.dtype == torch.float32 else np.uint16)


def fingerprint(t):
    b = bits_of(t).astype(np.uint64) + np.uint64(1)
    with np.errstate(over="ignore"):
        terms = b * splitmix64(np.arange(len(b), dtype=np.uint64))
        return "%016x" % int(terms.sum(dtype=np.uint64))


def f32_hex(values):
    return " ".join("%08x" % b for b in bits_of(torch.as_tensor(values, dtype=torch.float32)))


def case(fmt, block, dq, shape, dtype, kind):
    n = shape[0] * shape[1]
    x = torch.from_numpy(make_input(fmt, kind, n)).to(TYPES[dtype])
    assert torch.isfinite(x).all()
    x = x.reshape(shape) if shape[0] > 1 else x
    codes, state = bnb.quantize_4bit(x, blocksize=block, quant_type=fmt, compress_statistics=dq)
    out = bnb.dequantize_4bit(codes, state)
    if fmt == "fp4":
        out = out + 0.0
    nested = fingerprint(state.state2.absmax) if dq else "-"
    offset = f32_hex([state.offset.item()]) if dq else "-"
    return " ".join(str(v) for v in (
        fmt, block, int(dq), shape[0], shape[1], dtype, kind, fingerprint(codes),
        fingerprint(state.absmax), nested, fingerprint(out), offset))


def cases():
    sizes = [(1, n) for n in (1, 2, 63, 64, 65, 69, 4096 + 5)] + [(576, 172)]
    for fmt in ("nf4", "fp4"):
        for dq in (False, True):
            for block in BLOCKS:
                for shape in sizes:
                    yield fmt, block, dq, shape, "f32", "bell"
                yield fmt, block, dq, (31, 333), "f32", "zeros"
                yield fmt, block, dq, (8, 1030), "f32", "ties"
                yield fmt, block, dq, (8, 1030), "f32", "ties0.3"
            for dtype in ("bf16", "f16"):
                for block in (64, 4096):
                    yield fmt, block, dq, (576, 172), dtype, "bell"
                    yield fmt, block, dq, (7, 1001), dtype, "zeros"
            for block in (64, 1024):
                yield fmt, block, dq, (9, 1003), "f32", "constant"
                yield fmt, block, dq, (9, 1004), "f32", "subnormal"
                yield fmt, block, dq, (9, 1005), "f32", "tiny"
                if not dq:
                    yield fmt, block, dq, (5, 700), "f32", "huge"
            yield fmt, 64, dq, (33000, 64), "f32", "bell"


def small():
    ramp = [((37 * i) % 64 - 32) / 64 for i in range(64)] + [0.25, -0.125, 0.0625, 0, -0.03125]
    for fmt in ("nf4", "fp4"):
        for n in (64, 69):
            codes, state = bnb.quantize_4bit(torch.tensor(ramp[:n]), quant_type=fmt)
            yield f"{fmt} 64 {n} {bytes(codes.flatten().tolist()).hex()} {f32_hex(state.absmax)}"


def means():
    x = torch.from_numpy(np.abs(bell(300000, 7, 1.0)))
    around_powers = [2**k + d for k in range(9, 18) for d in (-1, 0, 1, 37)]
    sizes = list(range(1, 300)) + around_powers + [300000]
    for n in sizes:
        yield f"{n} {f32_hex([x[:n].mean().item()])}"


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    maps = [bnb.get_4bit_type("nf4", device="cpu"), bnb.get_4bit_type("fp4", device="cpu"),
            thresholds("nf4"), thresholds("fp4"), bnb.create_dynamic_map(signed=True),
            bnb.create_dynamic_map(signed=False)]
    files = {"maps": map(f32_hex, maps), "blockwise4": (case(*c) for c in cases()),
             "mean": means(), "small": small()}
    for name, lines in files.items():
        (FOLDER / f"{name}.txt").write_text("".join(line + "\n" for line in lines))
    print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability(),
          "bitsandbytes", bitsandbytes.__version__)


if __name__ == "__main__":
    main()
