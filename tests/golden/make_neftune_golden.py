#!/usr/bin/env python3
"""Writes ops/neftune.json: the largest noise that transformers' NEFTune adds to an embedding.

    python make_neftune_golden.py    # torch 2.15.0, transformers 5.24.0

The models train on a padded batch of two rows. Their hook draws the largest number in place of a
random one, so that what is added is the bound. "added" is by how much it moves the input of the
first layer: more than the bound where the model scales the embedding behind the hook.
"""

import json
import pathlib

import torch
import transformers
from transformers.integrations.neftune import activate_neftune

HERE = pathlib.Path(__file__).parent
OUT = HERE / "ops" / "neftune.json"
MODELS = {"tiny_llama": "tiny_llama", "gemma3_text": "families/gemma3_text",
          "granite": "families/granite"}  # fmt: skip
WIDTHS = (9, 14)
ALPHA = 5.0


def first_input(model, ids):
    seen = []
    layer = model.model.layers[0]
    handle = layer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    return seen[0].double()


def case(name, width):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        HERE / MODELS[name], dtype=torch.float32
    ).train()
    ids = torch.arange(2 * width).reshape(2, width) % 90
    plain = first_input(model, ids)
    bounds = []
    uniform = torch.Tensor.uniform_

    def largest(tensor, low, high):
        assert float(low) == -float(high)
        bounds.append(float(high))
        return tensor.fill_(float(high))

    activate_neftune(model, ALPHA)
    torch.Tensor.uniform_ = largest
    try:
        noisy = first_input(model, ids)
    finally:
        torch.Tensor.uniform_ = uniform
    return {"model": name, "width": width, "bound": bounds[0],
            "added": (noisy - plain).mean().item()}  # fmt: skip


def main():
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "alpha": ALPHA,
        "cases": [case(name, width) for name in MODELS for width in WIDTHS],
    }
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
