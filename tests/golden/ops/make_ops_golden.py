#!/usr/bin/env python3
"""Makes ops.json: what torch and transformers compute for tiny inputs of the elementwise operators.

    python make_ops_golden.py > ops.json

Inputs and outputs are float32, written with enough digits to come back to the same bits. Gradients
are autograd's. The rotary frequencies are those of transformers' LlamaRotaryEmbedding.
"""

import json

import torch
import transformers
from transformers.models.llama import modeling_llama

torch.set_num_threads(1)
torch.manual_seed(7)


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().float().flatten().tolist()]


def random(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).requires_grad_()


def rmsnorm(dtype):
    norm = modeling_llama.LlamaRMSNorm(21, eps=1e-5)
    weight = (torch.rand(21) + 0.5).to(dtype)
    norm.weight = torch.nn.Parameter(weight.float())
    x, dy = random(3, 21), torch.randn(3, 21)
    y = norm(x)
    y.backward(dy)
    return {"x": numbers(x), "w": numbers(weight), "y": numbers(y), "dy": numbers(dy),
            "dx": numbers(x.grad), "eps": 1e-5}


def rope(head_dim, theta, scaling, positions):
    config = transformers.LlamaConfig(
        hidden_size=2 * head_dim, num_attention_heads=2, head_dim=head_dim,
        max_position_embeddings=131072, rope_parameters={"rope_theta": theta, **scaling})
    module = modeling_llama.LlamaRotaryEmbedding(config)
    x, dy = random(1, 2, len(positions), head_dim), torch.randn(1, 2, len(positions), head_dim)
    cos, sin = module(x, torch.tensor([positions]))
    y, _ = modeling_llama.apply_rotary_pos_emb(x, x, cos, sin)
    y.backward(dy)
    # Ours are [token, head, head_dim].
    rows = {name: numbers(value[0].transpose(0, 1))
            for name, value in (("x", x), ("y", y), ("dy", dy), ("dx", x.grad))}
    half = head_dim // 2
    return {"head_dim": head_dim, "theta": theta, "scaling": scaling, "positions": positions,
            "inv_freq": numbers(module.inv_freq), "cos": numbers(cos[0, :, :half]),
            "sin": numbers(sin[0, :, :half]), **rows}


def swiglu():
    gate, up, dy = random(37, scale=4.0), random(37), torch.randn(37)
    with torch.no_grad():
        gate[:4] = torch.tensor([0.0, -30.0, 30.0, -200.0])
    y = torch.nn.functional.silu(gate) * up
    y.backward(dy)
    return {"gate": numbers(gate), "up": numbers(up), "y": numbers(y), "dy": numbers(dy),
            "dgate": numbers(gate.grad), "dup": numbers(up.grad)}


def cross_entropy():
    logits = random(4, 37, scale=3.0)
    targets = torch.tensor([0, 36, 17, 5])
    with torch.no_grad():
        logits[2, 17] = 40.0  # certain
        logits[3, 6] = 60.0  # certain and wrong
    scale = 0.25
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    (losses.sum() * scale).backward()
    return {"logits": numbers(logits), "targets": targets.tolist(), "scale": scale,
            "losses": numbers(losses), "dlogits": numbers(logits.grad)}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
POSITIONS = [0, 1, 7, 1000, 8191]

golden = {
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "rmsnorm_f32": rmsnorm(torch.float32),
    "rmsnorm_bf16": rmsnorm(torch.bfloat16),
    "rmsnorm_f16": rmsnorm(torch.float16),
    "rope_none": rope(16, 10000.0, {"rope_type": "default"}, POSITIONS),
    "rope_linear": rope(8, 10000.0, {"rope_type": "linear", "factor": 2.5}, POSITIONS),
    "rope_llama3": rope(64, 500000.0, LLAMA3, POSITIONS),
    "swiglu": swiglu(),
    "cross_entropy": cross_entropy(),
}
print("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}")
