"""A model of transformers, PEFT and bitsandbytes that computes in float64.

model.double() is not enough: transformers goes through float32 in norms, softmax and rotary
embedding whatever the model's type. So inside `Float64()`

* a float32 that is asked for (a dtype argument, Tensor.float) becomes a float64, int / int gives
  float64, and a float32 that comes out of any function is an error;
* a rotary embedding is the exception: inverse frequencies and angles are rounded to float32 as
  transformers rounds them, because they are what both sides are given (Tessera does the same
  steps); cosines and sines of those angles, and all after them, are float64.

`to_float64` changes the modules: parameters become float64, a Linear4bit multiplies with the
float32 values that bitsandbytes dequantizes, widened, and the embedding scale of Gemma is the root
itself instead of its float32.
"""

import contextlib

import bitsandbytes as bnb
import bitsandbytes.functional as bnb_functional
import torch
from torch.overrides import TorchFunctionMode

_CIRCULAR = (torch.Tensor.cos, torch.Tensor.sin, torch.cos, torch.sin)


class Float64(TorchFunctionMode):
    in_rotary = False

    def __enter__(self):
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error):
        torch.set_default_dtype(torch.float32)
        return super().__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if Float64.in_rotary:
            if function in _CIRCULAR:
                args = (args[0].double(), *args[1:])
            return function(*args, **kwargs)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}
        args = [torch.float64 if v is torch.float32 else v for v in args]
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        result = function(*args, **kwargs)
        assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float32), function
        return result


@contextlib.contextmanager
def _rounded_angles():
    before = Float64.in_rotary, torch.get_default_dtype()
    Float64.in_rotary = True
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        Float64.in_rotary = before[0]
        torch.set_default_dtype(before[1])


def rotary_embeddings(model):
    """Of the text model."""
    for name, module in model.named_modules():
        if type(module).__name__.endswith("RotaryEmbedding") and "vision" not in name:
            yield module


def _keep_angles(rotary):
    original = rotary.forward

    def forward(*args, **kwargs):
        with _rounded_angles():
            return original(*args, **kwargs)

    rotary.forward = forward


def _widen_quantized(linear):
    weight = bnb_functional.dequantize_4bit(linear.weight.data, linear.weight.quant_state).double()
    linear.forward = lambda x: torch.nn.functional.linear(x, weight, linear.bias)


def to_float64(model):
    """In place; of a base or of one with an adapter. To be used inside Float64()."""
    model.double()
    for rotary in rotary_embeddings(model):
        _keep_angles(rotary)
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            _widen_quantized(module)
        if hasattr(module, "scalar_embed_scale"):
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)
    return model
