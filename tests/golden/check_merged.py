#!/usr/bin/env python3
"""Is the folder that `tessera merge` wrote what PEFT's merge_and_unload gives?

    python check_merged.py --base DIR --adapter DIR --merged DIR [--nf4] [--tolerance 1e-6]

Loads the merged folder with transformers (any warning is an error), merges with PEFT in float32
over the base as stored or, with --nf4, over its weights decoded from NF4, and compares every weight
and the logits of a few tokens. --base is a folder in Hugging Face layout; --merged may come from
the GGUF file of the same model. Exits 1 where a weight differs by more than the tolerance.
"""

import argparse
import sys
import warnings

import referee
import torch


def expected(args):
    model = referee.load_base(args.base, nf4=False)
    if args.nf4:
        quantized = dict(referee.load_base(args.base, nf4=True).named_modules())
        for name, module in model.named_modules():
            if name.split(".")[-1] in referee.TARGETS:
                weight = quantized[name].weight
                flat = referee.bnb_functional.dequantize_4bit(weight.data, weight.quant_state)
                module.weight.data = flat.float().reshape(module.weight.shape).clone()
    return referee.attach_adapter(model, args.adapter, trainable=False).merge_and_unload().eval()


def merged(args):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load = referee.transformers.AutoModelForCausalLM.from_pretrained
        model, report = load(
            args.merged, dtype="auto", attn_implementation="eager", output_loading_info=True
        )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--base", "--adapter", "--merged"):
        parser.add_argument(name, required=True)
    parser.add_argument("--nf4", action="store_true")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    args = parser.parse_args()
    theirs, ours = expected(args), merged(args)
    reference = dict(theirs.named_parameters())
    found = dict(ours.named_parameters())
    assert reference.keys() == found.keys(), sorted(reference.keys() ^ found.keys())
    worst, where = 0.0, ""
    for name, value in reference.items():
        difference = (value - found[name].float()).abs().max().item()
        if difference > worst:
            worst, where = difference, name
    ids = torch.tensor([[1, 72, 105, 44, 17, 200, 9, 31]])
    with torch.no_grad():
        a, b = theirs(input_ids=ids).logits, ours(input_ids=ids).logits.float()
    print(f"{len(found)} tensors of {next(ours.parameters()).dtype}; largest difference of a "
          f"weight {worst:.3e} {where}; of a logit {(a - b).abs().max().item():.3e} "
          f"of {a.abs().max().item():.3g}")  # fmt: skip
    return 1 if worst > args.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
