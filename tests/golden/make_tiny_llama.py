#!/usr/bin/env python3
"""Makes tiny_llama/: a random two-layer Llama, rows to train on and an initial adapter.

    python make_tiny_llama.py [OUT_DIR]

The shapes are chosen to find mistakes: 4 heads over 2 kv heads, an inner size (176) that is no
multiple of the quantization block, norms that are not 1, an untied head. The rows hold answers of
one and of two turns, a row supervised from its first token (which no position predicts) and rows
whose lengths differ inside every micro-batch. The committed files are the truth; this shows where
they came from, and gives the same bytes with numpy 2.4.
"""

import argparse
import json
import pathlib

import numpy as np
import referee
import safetensors.numpy
import transformers

HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCAB = 64, 2, 4, 2, 176, 256
HERE = pathlib.Path(__file__).resolve().parent


def weights(rng):
    def matrix(rows, columns, gain=1.0):
        return (rng.standard_normal((rows, columns)) * gain / np.sqrt(columns)).astype(np.float32)

    def norm():
        return rng.uniform(0.6, 1.4, HIDDEN).astype(np.float32)

    kv = HIDDEN // HEADS * KV_HEADS
    tensors = {"model.embed_tokens.weight": rng.standard_normal((VOCAB, HIDDEN)).astype(np.float32)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "input_layernorm.weight"] = norm()
        tensors[prefix + "self_attn.q_proj.weight"] = matrix(HIDDEN, HIDDEN)
        tensors[prefix + "self_attn.k_proj.weight"] = matrix(kv, HIDDEN)
        tensors[prefix + "self_attn.v_proj.weight"] = matrix(kv, HIDDEN)
        tensors[prefix + "self_attn.o_proj.weight"] = matrix(HIDDEN, HIDDEN)
        tensors[prefix + "post_attention_layernorm.weight"] = norm()
        tensors[prefix + "mlp.gate_proj.weight"] = matrix(INNER, HIDDEN)
        tensors[prefix + "mlp.up_proj.weight"] = matrix(INNER, HIDDEN)
        tensors[prefix + "mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
    tensors["model.norm.weight"] = norm()
    tensors["lm_head.weight"] = matrix(VOCAB, HIDDEN)
    return tensors


def rows(rng):
    """A prompt of random tokens, answered by its reverse; every fourth row has a second turn."""
    result = []
    for r in range(16):
        target = int(rng.integers(9, 41)) if r not in (3, 8) else (9, 40)[r == 8]
        ids, labels = [1], [referee.IGNORE]
        turns = 2 if r % 4 == 2 and target >= 16 else 1
        room = target - 1
        for turn in range(turns):
            share = room // (turns - turn)
            room -= share
            prompt = rng.integers(3, VOCAB, share // 2).tolist()
            answer = (prompt[::-1] + [2] * share)[: share - share // 2]
            ids += prompt + answer
            labels += [referee.IGNORE] * len(prompt) + answer
        if r == 5:
            labels = list(ids)
        assert len(ids) == len(labels) == target
        result.append({"input_ids": ids, "labels": labels})
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=HERE / "tiny_llama")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(20240601))
    safetensors.numpy.save_file(weights(rng), out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "vocab_size": VOCAB,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
    }
    (out / "model.safetensors").chmod(0o644)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    text = "".join(json.dumps(row) + "\n" for row in rows(rng))
    (out / "data.jsonl").write_text(text)
    referee.write_adapter(out / "adapter_in", referee.initial_adapter(out), "tiny_llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    print(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
