#!/usr/bin/env python3
"""train_reference.py with the base's products in bfloat16, as Tessera's CPU backend rounds them.

    python train_reference_bf16.py ...the arguments of train_reference.py...

Every product with a frozen weight (the decoder's linears and the head; forward, and backward to the
input) rounds both operands to bfloat16, to nearest, and multiplies what is left in float32, where a
product of two bfloat16 is exact. Adapters, norms, attention and loss stay in float32. bitsandbytes'
own bfloat16 would also round each output, which Tessera does not.
"""

import referee  # first: it sets the environment for torch
import bitsandbytes as bnb
import bitsandbytes.functional as bnb_functional
import torch
import train_reference


def rounded(tensor):
    return tensor.to(torch.bfloat16).to(torch.float32)


class RoundedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = rounded(weight)
        return torch.nn.functional.linear(rounded(x), ctx.weight)

    @staticmethod
    def backward(ctx, dy):
        return rounded(dy) @ ctx.weight, None


def weight_of(module):
    if isinstance(module, bnb.nn.Linear4bit):
        return bnb_functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
    return module.weight.data


def load_base(model_dir, nf4=True, attention="eager"):
    model = load_base_in_float32(model_dir, nf4, attention)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):  # Linear4bit is one
            assert module.bias is None
            weight = weight_of(module).float()
            module.forward = lambda x, weight=weight: RoundedProduct.apply(x, weight)
    return model


load_base_in_float32 = referee.load_base
referee.load_base = load_base

if __name__ == "__main__":
    train_reference.main()
