"""Writes golden.json: the modules of a Llama that PEFT adapts for a config, or that it refuses it.

Run: python make_targets_golden.py (needs peft, transformers, torch).
"""
import json
import pathlib
import re

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS = 12  # two digits, so that layer 1 is told from layer 11
FULL = "model.layers.1.self_attn.q_proj"
CONFIGS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["v_proj", "q_proj", "q_proj"]},
    {"target_modules": ["self_attn.q_proj"]},
    {"target_modules": ["1.self_attn.q_proj"]},
    {"target_modules": ["layers.1.mlp.up_proj", "down_proj"]},
    {"target_modules": [FULL]},
    {"target_modules": [FULL, "model.layers.11.mlp.down_proj", "mlp.gate_proj"]},
    {"target_modules": ["proj"]},
    {"target_modules": ["_proj"]},
    {"target_modules": ["attn.q_proj"]},
    {"target_modules": ["v_porj"]},
    {"target_modules": ["Q_PROJ"]},
    {"target_modules": [".*q_proj"]},
    {"target_modules": ["all-linear"]},
    {"target_modules": []},
    {"target_modules": [f"model.layers.{i}.{m}" for i in range(0, 12, 2)
                        for m in ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj",
                                  "mlp.down_proj")]},
    {"target_modules": "all-linear"},
    {"target_modules": "All-Linear"},
    {"target_modules": "all-linear", "exclude_modules": ["mlp.up_proj", "model.layers.3.self_attn.o_proj"]},
    {"target_modules": r".*\.(q|v)_proj"},
    {"target_modules": r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"},
    {"target_modules": r".*proj"},
    {"target_modules": r".*\.(q|v)_pro"},
    {"target_modules": r".*\.q_proj|.*\.v_pro"},
    {"target_modules": r"q_proj"},
    {"target_modules": r"q_proj|v_proj"},
    {"target_modules": "q_proj,v_proj"},
    {"target_modules": r"model\.layers\.\d+\.mlp\.(?P<kind>gate|up)_proj"},
    {"target_modules": r"model\.layers\.[0-3]\.self_attn\.q_proj"},
    {"target_modules": r"model.layers.1.self_attn.q_proj|model.layers.1.self_attn.q"},
    {"target_modules": r".*layers\.(1|11)\.self_attn\.[qkv]_proj\Z"},
    {"target_modules": r"(?i)MODEL\.LAYERS\.5\..*_PROJ"},
    {"target_modules": r".*(?<!1)\.mlp\.up_proj"},
    {"target_modules": r"(?!.*mlp).*_proj"},
    {"target_modules": r".*\.q_proj", "exclude_modules": r".*\.(0|1)\..*"},
    {"target_modules": r".*(q_proj|lm_head)", "exclude_modules": ["lm_head"]},
    {"target_modules": r".*"},
    {"target_modules": r".*[qv_proj"},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["v_proj"]},
    {"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]},
    {"target_modules": ["q_proj"], "exclude_modules": r"model\.layers\.1\d?\..*"},
    {"target_modules": ["q_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 11]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": []},
    {"target_modules": [FULL, "k_proj"], "layers_to_transform": [4]},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 3], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 3], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 3], "layers_pattern": "h"},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 3], "layers_pattern": []},
    {"target_modules": r".*q_proj", "layers_to_transform": [2]},
    {"target_modules": "all-linear", "layers_to_transform": [2]},
    {"target_modules": ["input_layernorm"]},
    {"target_modules": ["q_proj", "model.norm"]},
]


def adapted(model, config):
    try:
        peft = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", **config))
    except (ValueError, re.error) as error:
        return None
    names = [n for n, _ in peft.named_modules() if n.endswith(".lora_A")]
    return [n.removeprefix("base_model.model.").removesuffix(".lora_A") for n in names]


def main():
    shape = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=LAYERS,
                        num_attention_heads=2, num_key_value_heads=1, vocab_size=32)

    def model():
        with torch.device("meta"):
            return LlamaForCausalLM(shape)

    cases = [{"config": c, "modules": adapted(model, c)} for c in CONFIGS]
    lines = ",\n".join(json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("golden.json")
    path.write_text(f'{{"layers": {LAYERS}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
