"""Writes patterns.json: rank and scale of every adapter that PEFT makes for a config, and the
linears that all-linear selects in each family of ../families.

Run: python make_patterns_golden.py (needs peft, transformers, torch).
"""
import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText,
                          LlamaConfig, LlamaForCausalLM)

HERE = pathlib.Path(__file__).resolve().parent
LAYERS = 12  # two digits, so that layer 1 is told from layer 11
BASE = {"r": 8, "lora_alpha": 12, "target_modules": ["q_proj", "up_proj", "down_proj"]}
# The order of keys counts.
CONFIGS = [
    {},
    {"rank_pattern": {"q_proj": 3}},
    {"rank_pattern": {"layers.1.self_attn.q_proj": 3}},
    {"rank_pattern": {"model.layers.1.self_attn.q_proj": 3}},
    {"rank_pattern": {"^model.layers.1.self_attn.q_proj": 3}},
    {"rank_pattern": {"^layers.1.self_attn.q_proj": 3}},
    {"rank_pattern": {"1.self_attn.q_proj": 3}},
    {"rank_pattern": {"proj": 3}},
    {"rank_pattern": {".*proj": 3, "q_proj": 5}},
    {"rank_pattern": {"q_proj": 5, ".*proj": 3}},
    {"rank_pattern": {"up_proj": 2, r"layers\.\d+\.mlp\..*": 4, ".*": 6}},
    {"rank_pattern": {r"model\.layers\.(1|11)\..*_proj": 64}},
    {"rank_pattern": {"q_proj|down_proj": 1}},
    {"rank_pattern": {"q": 3, "nothing": 4}},
    {"alpha_pattern": {"q_proj": 3}},
    {"alpha_pattern": {"q_proj": 0.3, "mlp.*": 7.5}},
    {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 5, ".*": 1}},
    {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"up_proj": 5}, "use_rslora": True},
    {"rank_pattern": {"(?:up|down)_proj": 7}, "layers_to_transform": [2, 5]},
]


def llama():
    shape = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=LAYERS,
                        num_attention_heads=2, num_key_value_heads=1, vocab_size=32)
    with torch.device("meta"):
        return LlamaForCausalLM(shape)


def adapters(config):
    model = get_peft_model(llama(), LoraConfig(task_type="CAUSAL_LM", **BASE | config))
    return [[name.removeprefix("base_model.model."), module.r["default"],
             module.scaling["default"]]
            for name, module in model.named_modules() if hasattr(module, "lora_A")]


def all_linear(folder):
    config = AutoConfig.from_pretrained(folder)
    kind = AutoModelForImageTextToText if hasattr(config, "text_config") else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    names = [name.removeprefix("base_model.model.")
             for name, module in model.named_modules() if hasattr(module, "lora_A")]
    # A model with more than text has linears outside of the text model, too.
    return [name for name in names if "vision" not in name and "projector" not in name]


def main():
    cases = ",\n".join(json.dumps({"config": BASE | c, "adapters": adapters(c)}) for c in CONFIGS)
    families = sorted(p.parent for p in (HERE.parent / "families").glob("*/config.json"))
    linears = ",\n".join(f"{json.dumps(f.name)}: {json.dumps(all_linear(f))}" for f in families)
    text = f'{{"layers": {LAYERS}, "cases": [\n{cases}\n], "all_linear": {{\n{linears}\n}}}}\n'
    (HERE / "patterns.json").write_text(text)


if __name__ == "__main__":
    main()
