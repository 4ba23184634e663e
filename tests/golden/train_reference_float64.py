#!/usr/bin/env python3
"""train_reference.py in float64: the referee where two float32 trainings differ.

    python train_reference_float64.py ...the arguments of train_reference.py...

What both sides are given is taken as it is, and everything after it is float64:

* given, in float32: the frozen weights (bitsandbytes' dequantized NF4; embedding, head and norms of
  the checkpoint), the initial adapter, and the angles of the rotary embedding (transformers rounds
  inverse frequency and angle to float32, Tessera does the same);
* in float64: products, norms, softmax, cos and sin of the angles, cross-entropy, backward pass,
  gradient norm, clipping and AdamW. transformers itself would still go through float32 in norms,
  softmax and rotary embedding of a float64 model, so a mode redirects every such cast;
* constants that float32 rounds in a kernel are errors of the float32 side: beta1, beta2, 1 - beta,
  eps, step size and bias correction of AdamW, eps of the norms, the clipping factor.

The JSON has the steps and the summary of the update; --adapter-out gets a float64 adapter.
"""

import json
import pathlib
import sys

import referee  # first: it sets the environment for torch
import bitsandbytes as bnb
import bitsandbytes.functional as bnb_functional
import torch
import train_reference
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """A float32 asked for becomes a float64; a float32 that comes out is an error."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        args = [torch.float64 if v is torch.float32 else v for v in args]
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        if function in (torch.Tensor.cos, torch.Tensor.sin):
            args[0] = args[0].float().double()  # the angle, which both sides round to float32
        result = function(*args, **kwargs)
        assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float32), function
        return result


def load_base(model_dir, nf4=True, attention="eager"):
    model = load_base_in_float32(model_dir, nf4, attention)
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            assert module.bias is None
            frozen = bnb_functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            weight = frozen.double()
            module.forward = lambda x, weight=weight: torch.nn.functional.linear(x, weight)
    return model


def attach_adapter(model, directory, trainable):
    return attach_in_float32(model, directory, trainable).double()


def cross_entropy_sum(*batch):
    with Float64():
        return cross_entropy_sum_in_any(*batch)


load_base_in_float32, attach_in_float32 = referee.load_base, referee.attach_adapter
referee.load_base, referee.attach_adapter = load_base, attach_adapter
cross_entropy_sum_in_any = train_reference.cross_entropy_sum
train_reference.cross_entropy_sum = cross_entropy_sum


def main():
    train_reference.main()
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    result = json.loads(out.read_text())
    for key in ("first_step_gradient_l2", "quantized"):
        del result[key]
    del result["adapter"]["tensors"]
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
