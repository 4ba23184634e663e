#!/usr/bin/env python3
"""Is the folder that `tessera quantize` wrote what transformers and bitsandbytes make?

    python check_quantized.py --base DIR --quantized DIR

Quantizes the base with transformers, by the settings in the folder's config.json (blocks of 64),
and compares names, dtypes, shapes and bytes of all tensors, and the quantization_config. Then loads
the folder with transformers, where any missing or unexpected tensor is an error, and compares the
logits of a few tokens. Exits 1 where something differs.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import quantized_folder
import torch


def read_config(folder):
    return json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]


def logits(folder):
    torch.set_num_threads(1)
    model, report = quantized_folder.load(folder, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[key], (key, report[key])
    vocab = model.config.get_text_config().vocab_size
    ids = torch.tensor([[1, 72, 105, 44, 17, 200, 9, 31]]) % vocab
    # In evaluation bitsandbytes packs weights for some CPUs, which some shapes do not allow.
    return model.train()(input_ids=ids).logits.float().detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--base", "--quantized"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    config = read_config(args.quantized)
    with tempfile.TemporaryDirectory() as out:
        quantized_folder.save(
            args.base, out, config["bnb_4bit_quant_type"], config["bnb_4bit_use_double_quant"]
        )
        expected = quantized_folder.describe(out)
        expected_config, expected_logits = read_config(out), logits(out)
    found = quantized_folder.describe(args.quantized)
    wrong = sorted(expected.keys() ^ found.keys())
    wrong += [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    for name in sorted(wrong):
        print(f"{name}: expected {expected.get(name)}, found {found.get(name)}")
    if config != expected_config:
        print(f"quantization_config: expected {expected_config}, found {config}")
    distance = (logits(args.quantized) - expected_logits).abs().max().item()
    print(f"{len(found)} tensors, {len(wrong)} differ; logits differ by up to {distance:.3g}")
    return int(bool(wrong) or config != expected_config or distance > 0)


if __name__ == "__main__":
    sys.exit(main())
