#!/usr/bin/env python3
"""Makes gguf/: what the reference implementations read out of GGUF data.

    python make_gguf_golden.py

blocks.safetensors   random blocks of each type, with extreme and subnormal scales, and the values
                     that gguf.quants.dequantize gives (TYPE.blocks, TYPE.values); llama3.factors:
                     what transformers divides the rotary frequencies of Llama-3.2-1B by
tiny.gguf            a one-layer llama with tensors of six types, written by gguf.GGUFWriter with q
                     and k permuted as llama.cpp's converter does
tiny.safetensors     the state that transformers loads from it, under Hugging Face names
Needs numpy, gguf, torch, transformers, safetensors.
"""

import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

OUT = pathlib.Path(__file__).parent / "gguf"
SMALL, LARGE = 40, 32  # blocks of a type: those of 32 elements, those of 256
HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 32, 64, 4, 2, 8, 32

# Largest, smallest normal, subnormal, smallest subnormal, zeros, one; then negated.
EXTREMES = np.array([0x7BFF, 0x0400, 0x03FF, 0x0001, 0x0000, 0x3C00], dtype=np.uint16)
EXTREMES = np.concatenate([EXTREMES, EXTREMES | 0x8000])

# Where a block has its float16 numbers: the scale, then the minimum.
HALVES = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
          Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
          Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: []}
# The types that have a block with all other bits set and one with none.
WITH_ENDS = list(HALVES)[3:]
MXFP4_EXPONENTS = [0, 1, 2, 3, 127, 250, 254, 255]


def halves(rng, count):
    """Random finite float16 bit patterns that begin with the extreme ones."""
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    bits[(bits & 0x7C00) == 0x7C00] &= 0xBFFF
    bits[: len(EXTREMES)] = EXTREMES
    return bits


def random_blocks(rng, kind):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = LARGE if elements == 256 else SMALL
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == Type.F16:
        return halves(rng, 512).view(np.uint8).reshape(1, -1)
    if kind in (Type.BF16, Type.F32):
        bits = rng.integers(0, 1 << 16, 512, dtype=np.uint16)
        bits[(bits & 0x7F80) == 0x7F80] &= 0xBFFF  # finite
        bits[:8] = [0x0001, 0x8001, 0x007F, 0x0080, 0x7F7F, 0x0000, 0x8000, 0x3F80]
        return bits.view(np.uint8).reshape(1, -1)
    if kind in WITH_ENDS:
        blocks[len(EXTREMES)] = 0xFF
        blocks[len(EXTREMES) + 1] = 0
    for place, step in zip(HALVES[kind], (1, -1)):  # extreme minimums in the last blocks
        values = halves(rng, count)[::step].copy()
        blocks[:, place:place + 2] = values.view(np.uint8).reshape(count, 2)
    if kind == Type.MXFP4:
        blocks[:len(MXFP4_EXPONENTS), 0] = MXFP4_EXPONENTS
    return blocks


def llama3_factors():
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(hidden_size=2048, num_attention_heads=32, head_dim=64,
                         rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / (500000.0 ** (torch.arange(0, 64, 2, dtype=torch.int64).float() / 64))
    return (plain / scaled).numpy()


def make_blocks():
    rng = np.random.default_rng(1)
    tensors = {}
    for kind in (Type.F32, Type.F16, Type.BF16, *HALVES):
        blocks = random_blocks(rng, kind)
        with np.errstate(over="ignore"):  # the largest exponent of MXFP4
            values = gguf.quants.dequantize(blocks, kind).astype(np.float32).reshape(-1)
        assert not np.isnan(values).any(), kind
        tensors[f"{kind.name}.blocks"] = blocks.reshape(-1).copy()
        tensors[f"{kind.name}.values"] = values.copy()
    tensors["llama3.factors"] = llama3_factors()
    save_file(tensors, OUT / "blocks.safetensors")


def permute(weight, heads):
    """The order of rows that llama.cpp's converter gives to q and k."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def make_model():
    rng = np.random.default_rng(2)

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    writer = gguf.GGUFWriter(OUT / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCAB)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def add(name, weight, kind):
        writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)

    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    add("token_embd.weight", random(VOCAB, HIDDEN), Type.Q8_0)
    add("blk.0.attn_norm.weight", random(HIDDEN), Type.F32)
    add("blk.0.attn_q.weight", permute(random(q, HIDDEN), HEADS), Type.Q4_1)
    add("blk.0.attn_k.weight", permute(random(kv, HIDDEN), KV_HEADS), Type.F16)
    add("blk.0.attn_v.weight", random(kv, HIDDEN), Type.Q4_0)
    add("blk.0.attn_output.weight", random(HIDDEN, q), Type.BF16)
    add("blk.0.ffn_norm.weight", random(HIDDEN), Type.F32)
    add("blk.0.ffn_gate.weight", random(FFN, HIDDEN), Type.Q4_0)
    add("blk.0.ffn_up.weight", random(FFN, HIDDEN), Type.Q4_1)
    add("blk.0.ffn_down.weight", random(HIDDEN, FFN), Type.Q8_0)
    add("output_norm.weight", random(HIDDEN), Type.F32)
    add("output.weight", random(VOCAB, HIDDEN), Type.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = AutoModelForCausalLM.from_pretrained(str(OUT), gguf_file="tiny.gguf",
                                                 dtype=torch.float32)
    save_torch({name: value.contiguous() for name, value in model.state_dict().items()},
               OUT / "tiny.safetensors", metadata={"format": "pt"})
    print(model.config)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    make_blocks()
    make_model()
