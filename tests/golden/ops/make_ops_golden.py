#!/usr/bin/env python3
"""Makes ops.json: what torch and transformers compute for tiny inputs of the elementwise operators.

    python make_ops_golden.py > ops.json

Inputs and outputs are float32, written with enough digits to come back to the same bits. Gradients
are autograd's. The rotary frequencies are those of transformers' LlamaRotaryEmbedding. Those of
rope_rules are Glm4RotaryEmbedding's: its own steps in float32, but with powers, sines and cosines
rounded once, where torch's may be one unit in the last place off.
"""

import json

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.activations import ACT2FN
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.glm4 import modeling_glm4
from transformers.models.llama import modeling_llama
from transformers.models.phi3 import modeling_phi3

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


def gemma_rmsnorm(dtype):
    norm = modeling_gemma3.Gemma3RMSNorm(21, eps=1e-6)
    weight = torch.randn(21).to(dtype)
    norm.weight = torch.nn.Parameter(weight.float())
    x, dy = random(3, 21), torch.randn(3, 21)
    y = norm(x)
    y.backward(dy)
    return {"x": numbers(x), "w": numbers(weight), "y": numbers(y), "dy": numbers(dy),
            "dx": numbers(x.grad), "eps": 1e-6}


def in_float64(tensor):
    return tensor.detach().double().requires_grad_()


def geglu():
    """In float64: torch's float32 gradient is 1.6e-6 off."""
    gate, up, dy = random(37, scale=3.0), random(37), torch.randn(37)
    with torch.no_grad():
        gate[:5] = torch.tensor([0.0, -30.0, 30.0, -200.0, -4.0])
    gate, up = in_float64(gate), in_float64(up)
    y = ACT2FN["gelu_pytorch_tanh"](gate) * up
    y.backward(dy)
    return {"gate": numbers(gate), "up": numbers(up), "y": numbers(y), "dy": numbers(dy),
            "dgate": numbers(gate.grad), "dup": numbers(up.grad)}


def softcap(cap):
    """In float64."""
    x, dy = random(37, scale=2 * cap), torch.randn(37)
    with torch.no_grad():
        x[:4] = torch.tensor([0.0, 1e-4, 20 * cap, -20 * cap])
    x = in_float64(x)
    y = torch.tanh(x / cap) * cap
    y.backward(dy)
    return {"cap": cap, "x": numbers(x), "y": numbers(y), "dy": numbers(dy),
            "dx": numbers(x.grad)}


def partial_rope(modeling, head_dim, partial_rotary_factor):
    """Half of a head's elements or so turn, in pairs as `modeling` has them."""
    config = transformers.Glm4Config(head_dim=head_dim, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0,
        "partial_rotary_factor": partial_rotary_factor})
    positions = [0, 1, 7, 50, 99]
    x, dy = random(1, 2, len(positions), head_dim), torch.randn(1, 2, len(positions), head_dim)
    cos, sin = modeling_glm4.Glm4RotaryEmbedding(config)(x, torch.tensor([positions]))
    y, _ = modeling.apply_rotary_pos_emb(x, x, cos, sin)
    y.backward(dy)
    rows = {name: numbers(value[0].transpose(0, 1))
            for name, value in (("x", x), ("y", y), ("dy", dy), ("dx", x.grad))}
    half = cos.shape[-1] // 2
    return {"head_dim": head_dim, "half": half, "cos": numbers(cos[0, :, :half]),
            "sin": numbers(sin[0, :, :half]), **rows}


class RoundedOnce(TorchDispatchMode):
    """Functions whose float32 results torch does not round once are taken in float64."""

    FUNCTIONS = ("aten::pow", "aten::cos", "aten::sin")

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function._schema.name not in self.FUNCTIONS:
            return function(*arguments, **(named or {}))
        # A base that is a number is rounded to float32 first, an exponent is not.
        base, *exponent = arguments
        if not isinstance(base, torch.Tensor):
            base = torch.tensor(base, dtype=torch.float32)
        wide = [a.double() if isinstance(a, torch.Tensor) else a for a in (base, *exponent)]
        return getattr(torch, function._schema.name[len("aten::"):])(*wide).float()


def rope_rule(name, length, head_dim=32, longest=16384, **parameters):
    """What a sample of `length` tokens turns by."""
    parameters = {"rope_theta": 10000.0, "partial_rotary_factor": 1.0, **parameters}
    config = transformers.Glm4Config(
        head_dim=head_dim, max_position_embeddings=longest, rope_parameters=dict(parameters))
    positions = [0, 1, length // 2, length - 1]

    def turned():
        module = modeling_glm4.Glm4RotaryEmbedding(config)
        cos, sin = module(torch.zeros(1), torch.tensor([positions]))
        return module, cos, sin

    plain = turned()[0].inv_freq
    with RoundedOnce():
        module, cos, sin = turned()
    torch.testing.assert_close(module.inv_freq, plain, rtol=2.5e-7, atol=0.0)
    half = module.inv_freq.numel()
    return {"name": name, "length": length, "head_dim": head_dim, "longest": longest,
            "parameters": parameters, "attention_factor": module.attention_scaling,
            "inv_freq": numbers(module.inv_freq), "positions": positions,
            "cos": numbers(cos[0, :, :half]), "sin": numbers(sin[0, :, :half])}


def rope_rules():
    dynamic = {"rope_type": "dynamic", "longest": 2048, "factor": 4.7}
    yarn = {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0,
            "original_max_position_embeddings": 4096}
    longrope = {"rope_type": "longrope", "head_dim": 16, "longest": 640,
                "original_max_position_embeddings": 64, "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.01, 1.05, 1.1, 1.7, 2.1],
                "long_factor": [1.1, 1.3, 2.05, 7.9, 23.41, 64.3]}
    return [
        rope_rule("half", 100, rope_type="default", partial_rotary_factor=0.5),
        rope_rule("odd", 100, head_dim=20, rope_type="default", partial_rotary_factor=0.75),
        rope_rule("linear", 5000, rope_type="linear", factor=3.3, partial_rotary_factor=0.5),
        rope_rule("llama3", 9000, **{**LLAMA3, "rope_theta": 500000.0}),
        rope_rule("dynamic, short", 5, **dynamic),
        rope_rule("dynamic, as long as trained", 2048, **dynamic),
        rope_rule("dynamic, one more", 2049, **dynamic),
        rope_rule("dynamic, long", 5000, **dynamic),
        rope_rule("dynamic, very long", 40000, **dynamic),
        rope_rule("dynamic, a part", 3001, **{**dynamic, "partial_rotary_factor": 0.75}),
        rope_rule("dynamic, another base", 6007, **{**dynamic, "rope_theta": 1234567.891}),
        rope_rule("yarn", 9000, **yarn),
        rope_rule("yarn, mscale", 9000, **{**yarn, "mscale": 1.0, "mscale_all_dim": 0.707}),
        rope_rule("yarn, its own factor", 9000, **{**yarn, "attention_factor": 1.25}),
        rope_rule("yarn, not truncated", 9000, **{**yarn, "truncate": False}),
        rope_rule("yarn, other bounds", 9000, **{**yarn, "beta_fast": 48.0, "beta_slow": 3.0,
                                                 "factor": 7.3, "partial_rotary_factor": 0.5}),
        rope_rule("yarn, bounds as one", 9000, **{**yarn, "beta_fast": 3.0, "beta_slow": 3.0,
                                                  "truncate": False}),
        rope_rule("longrope, short", 64, **longrope),
        rope_rule("longrope, long", 65, **longrope),
        rope_rule("longrope, factor", 65, **{**longrope, "factor": 3.0}),
    ]


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
    "rmsnorm_plus_f32": gemma_rmsnorm(torch.float32),
    "rmsnorm_plus_bf16": gemma_rmsnorm(torch.bfloat16),
    "geglu": geglu(),
    "softcap": softcap(30.0),
    "rope_partial": partial_rope(modeling_phi3, 24, 0.5),
    "rope_neighbours": partial_rope(modeling_glm4, 24, 0.5),
    "rope_rules": rope_rules(),
}
print("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}")
