#!/usr/bin/env python3
"""Writes optim/loraplus.json: PEFT's LoRA+ on a tiny Llama, its groups and some of its steps.

    python make_loraplus_golden.py    # torch 2.15.0, transformers 5.24.0, peft 0.21.2, on the CPU

The gradients follow the rule of make_optim_golden.py; that of tensor k at step t (from 1) is stream
1000 * k + t, with tensors in the order of the flat buffer. torch runs with a correctly rounded
Tensor.sqrt, as there. Float32 results are stored as their bits.
"""

import json
import pathlib

import peft
import torch
import transformers
from peft.optimizers import create_loraplus_optimizer

import make_optim_golden as rule

OUT = pathlib.Path(__file__).parent / "optim" / "loraplus.json"
RATE, RATIO, DECAY, STEPS = 1e-2, 12.5, 0.1, 4
ELEMENTS = 40  # of each tensor that are stored


def tiny_model(**settings):
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False)
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], **settings)
    return peft.get_peft_model(transformers.LlamaForCausalLM(config), adapter)


def plain_name(name):
    """That of the tensor in an adapter's file."""
    for part in ["base_model.model.", ".default", ".modules_to_save"]:
        name = name.replace(part, "")
    return name


def make_optimizer(model):
    return create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY,
        foreach=False)


def groups(model):
    names = {parameter: plain_name(name) for name, parameter in model.named_parameters()}
    return {names[p]: {"rate": group["lr"], "decay": group["weight_decay"]}
            for group in make_optimizer(model).param_groups for p in group["params"]}


def steps():
    """A schedule that falls linearly scales the rates of all groups alike."""
    model = tiny_model()
    optimizer = make_optimizer(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    trained = [(plain_name(n), p) for n, p in model.named_parameters() if p.requires_grad]
    for k, (_, parameter) in enumerate(trained):
        start = rule.values(1000 * k, parameter.numel())
        parameter.data = start.reshape(parameter.shape)
    torch.Tensor.sqrt = rule.rounded_sqrt
    for step in range(1, STEPS + 1):
        for k, (_, parameter) in enumerate(trained):
            gradient = rule.values(1000 * k + step, parameter.numel())
            parameter.grad = gradient.reshape(parameter.shape)
        optimizer.step()
        schedule.step()
    torch.Tensor.sqrt = rule.TORCH_SQRT
    return [{"name": n, "shape": list(p.shape), "params": rule.bits(p.flatten()[:ELEMENTS])}
            for n, p in trained]


def main():
    torch.set_num_threads(1)
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "peft": peft.__version__},
        "learning_rate": RATE, "ratio": RATIO, "weight_decay": DECAY, "steps": STEPS,
        "groups": groups(tiny_model(modules_to_save=["embed_tokens", "lm_head"])),
        "groups_of_tokens": groups(
            tiny_model(trainable_token_indices={"embed_tokens": [5, 9]})),
        "tensors": steps(),
    }
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
