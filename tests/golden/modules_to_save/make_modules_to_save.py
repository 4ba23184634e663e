#!/usr/bin/env python3
"""Makes golden.json: trainings of matrices in full, or of single rows of the embedding, beside
adapters (PEFT's modules_to_save and trainable_token_indices).

    python make_modules_to_save.py

Each case trains a model of ../families over NF4 for three steps, with the settings of
../families/three_steps.yml, once in float32 by transformers, PEFT and bitsandbytes as they are, and
once in float64. It starts from the family's adapter and the base's embedding and head. Those of two
cases are written by PEFT: adapter/ of `llama`, whose modules differ in rank and alpha, and
adapter_tokens/ of `tokens`. Of the trained tokens, some occur in the samples, one (150) does not,
and one is the family's pad token.

steps      loss, and gradient norm before clipping, of each step
stored     of each tensor that PEFT writes in the end but those of LoRA: the L2 norm of its update,
           and some elements of it
lora       the L2 norm of the update of all tensors of LoRA together
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "families"))

import make_families  # first: it sets the environment for torch
import family_models
import float64
import peft
import referee
import torch

CASES = {
    "llama": ("llama", ["embed_tokens", "lm_head"], False, None),
    "tied_embedding_alone": ("gemma3_text", ["embed_tokens"], False, None),
    "tied_head_alone": ("gemma3_text", ["lm_head"], False, None),
    "tied_both_apart": ("gemma2", ["embed_tokens", "lm_head"], False, None),
    "tied_as_one": ("gemma2", ["embed_tokens"], True, None),
    "granite": ("granite", ["lm_head", "embed_tokens"], False, None),
    "tokens": ("ministral3", None, False, "tokens"),
    "tokens_and_head": ("llama", ["lm_head"], False, "tokens"),
    "tied_tokens": ("gemma3", None, False, "tokens"),
    "tied_tokens_capped": ("gemma2", None, True, "map"),
    "tied_tokens_scaled": ("granite", None, False, "tokens"),
}
WITH_PATTERNS = "llama"
WRITTEN = {WITH_PATTERNS: "adapter", "tokens": "adapter_tokens"}
PATTERNS = {
    "rank_pattern": {"layers.0.self_attn.q_proj": 6, "q_proj|up_proj": 2,
                     r"v_proj|mlp\.\w+": 3},
    "alpha_pattern": {r"layers\.[01]\.mlp\.(gate|up)_proj": 5, "o_proj": 2.5},
}


def samples_of(name):
    family = CASES[name][0]
    return family_models.samples_of(family, family_models.FAMILIES[family])


def tokens_of(name):
    """What trainable_token_indices says: not in order, so that the order of rows is seen."""
    family, _, _, form = CASES[name]
    if form is None:
        return None
    seen = [token for ids in samples_of(name) for token in ids]
    assert 150 not in seen
    pad = family_models.FAMILIES[family].text.get("pad_token_id")
    tokens = list(dict.fromkeys([150, seen[3], seen[-1], seen[7], pad]))
    tokens = [token for token in tokens if token is not None]
    return tokens if form == "tokens" else {"embed_tokens": tokens}


def config_of(case, name):
    _, modules, tie, _ = CASES[name]
    return peft.LoraConfig(
        r=make_families.RANK,
        lora_alpha=make_families.ALPHA,
        lora_dropout=0.0,
        target_modules=case.peft_targets(),
        modules_to_save=modules and list(modules),
        trainable_token_indices=tokens_of(name),
        ensure_weight_tying=tie,
        task_type="CAUSAL_LM",
        **(PATTERNS if name == WITH_PATTERNS else {}),
    )


def state_of(model):
    return {
        key: value.detach().clone()
        for key, value in peft.get_peft_model_state_dict(
            model, save_embedding_layers=False
        ).items()
    }


def start(name):
    """The model over NF4 with what it trains at its first values."""
    family_name = CASES[name][0]
    family = family_models.FAMILIES[family_name]
    folder = HERE.parent / "families" / family_name
    model = make_families.load(family, folder, nf4=True)
    model = peft.get_peft_model(model, config_of(family, name)).eval()
    lora = {key: value for key, value in state_of(model).items() if ".lora_" in key}
    if name == WITH_PATTERNS:
        values = family_models.random_adapter({k: tuple(v.shape) for k, v in lora.items()})
    else:
        values = referee.read_adapter(folder / "adapter")
    assert values.keys() == lora.keys()
    params = make_families.trained(model)
    with torch.no_grad():
        for key, value in values.items():
            params[key].copy_(value)
    return model


def write_adapter(model, name):
    """As PEFT does, but with lists in an order that does not change."""
    folder = HERE / WRITTEN[name]
    model.peft_config["default"].base_model_name_or_path = CASES[name][0]
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    text = json.loads(path.read_text())
    text["target_modules"].sort()
    path.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    (folder / "adapter_model.safetensors").chmod(0o644)


def run(name, precision):
    model = start(name)
    if name in WRITTEN and precision == "float32":
        write_adapter(model, name)
    if precision == "float64":
        model = float64.to_float64(model)
    before = state_of(model)
    steps = make_families.train(model, samples_of(name))
    after = state_of(model)
    stored, lora = {}, []
    for key in sorted(after):
        update = after[key].double() - before[key].double()
        if ".lora_" in key:
            lora.append(update.reshape(-1))
            continue
        flat = after[key].reshape(-1)
        picks = [int(i) for i in torch.linspace(0, len(flat) - 1, 12)]
        stored[key] = {
            "shape": list(after[key].shape),
            "update_l2": update.norm().item(),
            "elements": [{"index": i, "value": flat[i].item()} for i in picks],
        }
    return {"steps": steps, "stored": stored, "lora": torch.cat(lora).norm().item()}


def main():
    referee.set_threads(1)
    golden = {"versions": referee.versions(), "cases": {}}
    for name, (family, modules, tie, _) in CASES.items():
        case = {
            "family": family,
            "modules_to_save": modules,
            "ensure_weight_tying": tie,
            "trainable_token_indices": tokens_of(name),
        }
        for precision in ("float32", "float64"):
            case[precision] = run(name, precision)
        golden["cases"][name] = case
        for ours, exact in zip(case["float32"]["steps"], case["float64"]["steps"], strict=True):
            print(name, {k: f"{v:.6f} {ours[k] / v - 1:+.1e}" for k, v in exact.items()})
        print(name, {k: v["update_l2"] for k, v in case["float64"]["stored"].items()})
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
