#!/usr/bin/env python3
"""Loads an adapter that Tessera wrote with PEFT itself, and fails on any warning or difference.

    python check_peft_loads.py MODEL_DIR ADAPTER_DIR      # peft 0.21.0, transformers 5.23.0

Checked: PEFT loads config and weights without a Python warning or a logged one; the model holds the
file's tensors, no more and no fewer, bit by bit; B is applied with the scale that the config means;
and PEFT, saving the adapter again, writes the same tensors and the same value for every key that
Tessera wrote. MODEL_DIR needs a config.json only: the base's weights are random.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import json
import logging
import math
import pathlib
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers


class RaiseOnWarning(logging.Handler):
    def emit(self, record):
        raise AssertionError(f"logged while loading: {record.getMessage()}")


def tensors_of(folder):
    return safetensors.torch.load_file(pathlib.Path(folder) / "adapter_model.safetensors")


def config_of(folder):
    return json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())


def assert_same(expected, actual):
    assert expected.keys() == actual.keys(), sorted(expected.keys() ^ actual.keys())
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype and torch.equal(actual[name], value), name


def load(base, folder):
    handler = RaiseOnWarning(level=logging.WARNING)
    logging.getLogger().addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # PEFT 0.21 calls what transformers 5.23 means to rename; that says nothing of the adapter.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        model = peft.PeftModel.from_pretrained(base, folder)
    logging.getLogger().removeHandler(handler)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("adapter")
    args = parser.parse_args()

    base_config = transformers.AutoConfig.from_pretrained(args.model)
    base = transformers.AutoModelForCausalLM.from_config(base_config)
    model = load(base, args.adapter)
    written, config = tensors_of(args.adapter), config_of(args.adapter)
    assert_same(written, peft.get_peft_model_state_dict(model, save_embedding_layers=False))

    r = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(r) if config["use_rslora"] else r)
    layers = [m for m in model.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert 2 * len(layers) == len(written)
    for layer in layers:
        assert layer.scaling["default"] == scale

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, save_embedding_layers=False)
        assert_same(written, tensors_of(folder))
        again = config_of(folder)
        for key, value in config.items():
            ours, theirs = (sorted(x) if isinstance(x, list) else x for x in (value, again[key]))
            assert ours == theirs, (key, value, again[key])
    versions = f"peft {peft.__version__}, transformers {transformers.__version__}"
    print(f"{versions}: {len(written)} tensors, scale {scale:g}, loaded without a warning")


if __name__ == "__main__":
    main()
