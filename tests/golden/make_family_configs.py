#!/usr/bin/env python3
"""Writes family_configs.json: configs of the supported families as they are published, and what
transformers makes of each: its model on the meta device tells names and shapes of tensors, scales
and windows; its rotary embedding tells frequencies.  Usage: make_family_configs.py [OUT]
Needs torch and transformers (see README.md); no weights are made and nothing is fetched."""
import copy
import importlib
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

LONG = [round(1.0 + 1.3 * i, 4) for i in range(48)]
SHORT = [round(1.0 + 0.04 * i, 4) for i in range(48)]


def sizes(hidden, ffn, layers, heads, kv_heads, vocab, **others):
    return {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
            **others}


def model(architecture, model_type, *args, **others):
    return {"architectures": [architecture], "model_type": model_type, **sizes(*args, **others)}


def llama(**others):
    return model("LlamaForCausalLM", "llama", 2048, 8192, 16, 32, 8, 128256, head_dim=64,
                 hidden_act="silu", max_position_embeddings=131072, rms_norm_eps=1e-5,
                 rope_theta=500000.0, tie_word_embeddings=True, torch_dtype="bfloat16", **others)


def qwen2(**others):
    return model("Qwen2ForCausalLM", "qwen2", 3584, 18944, 28, 28, 4, 152064, hidden_act="silu",
                 max_position_embeddings=32768, max_window_layers=28, rms_norm_eps=1e-6,
                 rope_theta=1000000.0, sliding_window=131072, tie_word_embeddings=False,
                 use_sliding_window=False) | others


def gemma2(*args, **others):
    return model("Gemma2ForCausalLM", "gemma2", *args, hidden_activation="gelu_pytorch_tanh",
                 hidden_act="gelu_pytorch_tanh", attn_logit_softcapping=50.0,
                 final_logit_softcapping=30.0, max_position_embeddings=8192, rms_norm_eps=1e-6,
                 rope_theta=10000.0, sliding_window=4096, attention_bias=False) | others


def gemma3(*args, **others):
    return model("Gemma3ForCausalLM", "gemma3_text", *args, head_dim=256,
                 hidden_activation="gelu_pytorch_tanh", attention_bias=False,
                 attn_logit_softcapping=None, final_logit_softcapping=None,
                 max_position_embeddings=32768, query_pre_attn_scalar=256, rms_norm_eps=1e-6,
                 sliding_window=512) | others


def phi3(*args, **others):
    return model("Phi3ForCausalLM", "phi3", *args, attention_bias=False, hidden_act="silu",
                 max_position_embeddings=131072, original_max_position_embeddings=4096,
                 resid_pdrop=0.0, embd_pdrop=0.0, rms_norm_eps=1e-5, rope_theta=10000.0,
                 rope_scaling={"long_factor": LONG, "short_factor": SHORT, "type": "longrope"},
                 sliding_window=262144) | others


def mistral(*args, **others):
    return model("MistralForCausalLM", "mistral", *args, hidden_act="silu",
                 rms_norm_eps=1e-5) | others


def glm(architecture, model_type, **others):
    return model(architecture, model_type, 4096, 13696, 40, 32, 2, 151552, head_dim=128,
                 hidden_act="silu", partial_rotary_factor=0.5, tie_word_embeddings=False,
                 eos_token_id=[151329, 151336, 151338]) | others


def exaone4(*args, **others):
    return model("Exaone4ForCausalLM", "exaone4", *args, hidden_act="silu", rms_norm_eps=1e-5,
                 rope_scaling={"factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                               "original_max_position_embeddings": 8192, "rope_type": "llama3"},
                 rope_theta=1000000, **others)


def seed_oss(**others):
    return model("SeedOssForCausalLM", "seed_oss", 5120, 27648, 64, 80, 8, 155136, head_dim=128,
                 attention_bias=True, attention_dropout=0.1, attention_out_bias=False,
                 hidden_act="silu", max_position_embeddings=524288, mlp_bias=False,
                 residual_dropout=0.1, rms_norm_eps=1e-6, rope_scaling={"rope_type": "default"},
                 rope_theta=10000000.0, tie_word_embeddings=False) | others


OLMO3_TYPES = (["sliding_attention"] * 3 + ["full_attention"]) * 8
MINISTRAL3_ROPE = {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1,
                   "mscale": 1.0, "mscale_all_dim": 1.0,
                   "original_max_position_embeddings": 16384, "rope_theta": 1000000.0,
                   "rope_type": "yarn", "type": "yarn"}

CONFIGS = {
    "Llama-3.2-1B": llama(rope_scaling={
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
    "llama with biases": llama(attention_bias=True, mlp_bias=True),
    "llama, dynamic": llama(rope_scaling={"type": "dynamic", "factor": 4.0}),
    "llama, linear, transformers 5": {
        **{k: v for k, v in llama().items() if k != "rope_theta"},
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 20000.0}},
    "llama, yarn without truncation": llama(rope_scaling={
        "rope_type": "yarn", "factor": 8.0, "truncate": False, "beta_fast": 16, "mscale": 0.7,
        "mscale_all_dim": 0.5, "original_max_position_embeddings": 16384}),
    "llama, yarn, original outside": llama(
        original_max_position_embeddings=4096,
        rope_scaling={"rope_type": "yarn", "factor": None, "attention_factor": None,
                      "original_max_position_embeddings": 8192}),
    "Mistral-7B-v0.1": mistral(4096, 14336, 32, 32, 8, 32000, max_position_embeddings=32768,
                               rope_theta=10000.0, sliding_window=4096),
    "Mistral-7B-v0.3": mistral(4096, 14336, 32, 32, 8, 32768, max_position_embeddings=32768,
                               rope_theta=1000000.0, sliding_window=None),
    "Mistral-Nemo-Base-2407": mistral(5120, 14336, 40, 32, 8, 131072, head_dim=128,
                                      max_position_embeddings=131072, rope_theta=1000000.0,
                                      sliding_window=None),
    "Mistral-Small-3.1-24B": {
        "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
        "torch_dtype": "bfloat16", "vision_config": {"model_type": "pixtral"},
        "text_config": sizes(5120, 32768, 40, 32, 8, 131072, model_type="mistral", head_dim=128,
                             hidden_act="silu", max_position_embeddings=131072, rms_norm_eps=1e-5,
                             rope_theta=1000000000.0, sliding_window=None)},
    "Ministral-8B-Instruct-2410": model(
        "MinistralForCausalLM", "ministral", 4096, 12288, 36, 32, 8, 131072, head_dim=128,
        max_position_embeddings=32768, rms_norm_eps=1e-5, rope_theta=100000000.0,
        sliding_window=32768,
        layer_types=(["full_attention"] + ["sliding_attention"] * 3) * 9),
    "Ministral-3-8B": {
        "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
        "dtype": "bfloat16", "vision_config": {"model_type": "pixtral"},
        "text_config": sizes(4096, 14336, 34, 32, 8, 131072, model_type="ministral3", head_dim=128,
                             hidden_act="silu", max_position_embeddings=262144, rms_norm_eps=1e-5,
                             rope_parameters=MINISTRAL3_ROPE, sliding_window=None,
                             tie_word_embeddings=False)},
    "Qwen2.5-7B": qwen2(),
    "Qwen2.5-7B with YaRN": qwen2(rope_scaling={
        "factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}),
    "Qwen2 with windows": qwen2(use_sliding_window=True, max_window_layers=21),
    "Qwen3-8B": model("Qwen3ForCausalLM", "qwen3", 4096, 12288, 36, 32, 8, 151936, head_dim=128,
                      attention_bias=False, hidden_act="silu", max_position_embeddings=40960,
                      max_window_layers=36, rms_norm_eps=1e-6, rope_scaling=None,
                      rope_theta=1000000, sliding_window=None, tie_word_embeddings=False,
                      use_sliding_window=False),
    "qwen3 with biases": model("Qwen3ForCausalLM", "qwen3", 1024, 3072, 4, 16, 8, 151936,
                               attention_bias=True),
    "gemma-2b": model("GemmaForCausalLM", "gemma", 2048, 16384, 18, 8, 1, 256000, head_dim=256,
                      hidden_act="gelu", hidden_activation=None, max_position_embeddings=8192,
                      rms_norm_eps=1e-6, rope_theta=10000.0),
    "gemma-2-2b": gemma2(2304, 9216, 26, 8, 4, 256000, head_dim=256, query_pre_attn_scalar=256),
    "gemma-2-27b": gemma2(4608, 36864, 46, 32, 16, 256000, head_dim=128,
                          query_pre_attn_scalar=144, final_logit_softcapping=None),
    "gemma-3-270m": gemma3(640, 2048, 18, 4, 1, 262144, rope_local_base_freq=10000.0,
                           rope_scaling=None, rope_theta=1000000.0, _sliding_window_pattern=6,
                           use_bidirectional_attention=False,
                           layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3),
    "gemma-3-1b": gemma3(1152, 6912, 26, 4, 1, 262144, rope_local_base_freq=10000,
                         rope_scaling=None, rope_theta=1000000, sliding_window_pattern=6),
    "gemma 3, transformers 5": gemma3(
        640, 2048, 6, 4, 1, 262144, rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}),
    "gemma-3-4b": {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "eos_token_id": [1, 106], "torch_dtype": "bfloat16",
        "vision_config": {"model_type": "siglip_vision_model"},
        "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
                        "model_type": "gemma3_text", "num_hidden_layers": 34,
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                        "sliding_window": 1024}},
    "gemma-3-27b": {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "vision_config": {"model_type": "siglip_vision_model"},
        "text_config": {"head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
                        "model_type": "gemma3_text", "num_attention_heads": 32,
                        "num_hidden_layers": 62, "num_key_value_heads": 16,
                        "query_pre_attn_scalar": 168,
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                        "sliding_window": 1024}},
    "Phi-3-mini-4k": phi3(3072, 8192, 32, 32, 32, 32064, max_position_embeddings=4096,
                          rope_scaling=None, sliding_window=2047),
    "Phi-3-mini-128k, su": phi3(3072, 8192, 32, 32, 32, 32064, rope_scaling={
        "long_factor": LONG, "short_factor": SHORT, "type": "su",
        "original_max_position_embeddings": 4096}),
    "Phi-3.5-mini": phi3(3072, 8192, 32, 32, 32, 32064),
    "Phi-4": phi3(5120, 17920, 40, 40, 10, 100352, max_position_embeddings=16384,
                  original_max_position_embeddings=16384, rope_theta=250000, rope_scaling=None,
                  sliding_window=None),
    "Phi-4-mini": phi3(3072, 8192, 32, 24, 8, 200064, partial_rotary_factor=0.75,
                       tie_word_embeddings=True),
    "SmolLM3-3B": model("SmolLM3ForCausalLM", "smollm3", 2048, 11008, 36, 16, 4, 128256,
                        attention_bias=False, hidden_act="silu", max_position_embeddings=65536,
                        mlp_bias=False, no_rope_layer_interval=4, no_rope_layers=[1, 1, 1, 0] * 9,
                        layer_types=["full_attention"] * 36, rms_norm_eps=1e-6, rope_scaling=None,
                        rope_theta=5000000.0, sliding_window=None, use_sliding_window=False),
    "smollm3 with windows": model("SmolLM3ForCausalLM", "smollm3", 2048, 11008, 8, 16, 4, 128256,
                                  use_sliding_window=True, sliding_window=2048,
                                  no_rope_layer_interval=3),
    "granite-3.3-2b": model("GraniteForCausalLM", "granite", 2048, 8192, 40, 32, 8, 49159,
                            attention_bias=False, attention_multiplier=0.015625,
                            embedding_multiplier=12.0, hidden_act="silu", logits_scaling=8.0,
                            max_position_embeddings=131072, mlp_bias=False,
                            residual_multiplier=0.22, rms_norm_eps=1e-5, rope_scaling=None,
                            rope_theta=10000000.0, tie_word_embeddings=True),
    "OLMo-2-1124-7B": model("Olmo2ForCausalLM", "olmo2", 4096, 11008, 32, 32, 32, 100352,
                            attention_bias=False, hidden_act="silu", max_position_embeddings=4096,
                            rms_norm_eps=1e-6, rope_scaling=None, rope_theta=500000),
    "Olmo-3-1025-7B": model("Olmo3ForCausalLM", "olmo3", 4096, 11008, 32, 32, 32, 100278,
                            attention_bias=False, hidden_act="silu", layer_types=OLMO3_TYPES,
                            max_position_embeddings=65536, rms_norm_eps=1e-6, rope_scaling={
                                "attention_factor": 1.2079441541679836, "beta_fast": 32.0,
                                "beta_slow": 1.0, "factor": 8.0,
                                "original_max_position_embeddings": 8192, "rope_type": "yarn"},
                            rope_theta=500000, sliding_window=4096),
    "olmo3, another base": model("Olmo3ForCausalLM", "olmo3", 4096, 11008, 4, 32, 32, 100278,
                                 max_position_embeddings=65536, rope_theta=1000000.0),
    "EXAONE-4.0-1.2B": exaone4(2048, 4096, 30, 32, 8, 102400, head_dim=64,
                               layer_types=["full_attention"] * 30,
                               max_position_embeddings=65536, sliding_window=None,
                               sliding_window_pattern=None, tie_word_embeddings=True),
    "EXAONE-4.0-32B": exaone4(5120, 27392, 64, 40, 8, 102400, head_dim=128,
                              layer_types=OLMO3_TYPES * 2, max_position_embeddings=131072,
                              sliding_window=4096, sliding_window_pattern="LLLG",
                              tie_word_embeddings=False),
    "exaone4, transformers 5": model(
        "Exaone4ForCausalLM", "exaone4", 2048, 4096, 7, 32, 8, 102400, sliding_window=512,
        sliding_window_pattern=3, rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    "Seed-OSS-36B": seed_oss(),
    "seed_oss with other biases": seed_oss(num_hidden_layers=4, attention_bias=False,
                                           attention_out_bias=True, mlp_bias=True),
    "glm-4-9b-chat-hf": glm("GlmForCausalLM", "glm", attention_bias=True,
                            max_position_embeddings=131072, rms_norm_eps=1.5625e-07,
                            rope_theta=10000.0),
    "GLM-4-9B-0414": glm("Glm4ForCausalLM", "glm4", attention_bias=False,
                         max_position_embeddings=32768, rms_norm_eps=1e-5, rope_theta=10000.0),
    "glm4, transformers 5": glm("Glm4ForCausalLM", "glm4", rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
}
# What the classes take for all that a config leaves out.
for name in ["llama", "mistral", "ministral", "ministral3", "qwen2", "qwen3", "gemma", "gemma2",
             "gemma3_text", "phi3", "smollm3", "granite", "olmo2", "olmo3", "exaone4", "seed_oss",
             "glm", "glm4"]:
    CONFIGS[f"defaults of {name}"] = {
        "model_type": name, "hidden_size": 2048, "intermediate_size": 512, "num_hidden_layers": 8,
        "num_attention_heads": 32, "vocab_size": 200000}
CONFIGS["defaults of ministral"]["head_dim"] = 64  # the class fails without it


def load(given):
    """As from_pretrained reads the file."""
    values = copy.deepcopy(given)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def rules_of(text, lengths):
    """What the rotary embedding of the class gives, of all layers or of each type of layer."""
    module = importlib.import_module(type(text).__module__.replace("configuration", "modeling"))
    name = next(n for n in dir(module) if n.endswith("RotaryEmbedding") and "Vision" not in n)
    types = ["full_attention", "sliding_attention"] if "full_attention" in text.rope_parameters \
        else [None]
    rules = []
    for kind in types:
        entry = {"frequencies": []}
        # Fresh ones, for they remember the longest sample.
        for length in lengths:
            if kind:
                text.layer_types = types * (text.num_hidden_layers // 2 + 1)
            rotary = getattr(module, name)(text)
            args = {"layer_type": kind} if kind else {}
            positions = torch.arange(length)[None, :]
            rotary(torch.zeros(1), positions, **args)
            prefix = f"{kind}_" if kind else ""
            entry["frequencies"].append(
                {"length": length, "values": getattr(rotary, prefix + "inv_freq").tolist()})
            entry["attention_factor"] = float(getattr(rotary, prefix + "attention_scaling"))
        if all(f["values"] == entry["frequencies"][0]["values"] for f in entry["frequencies"]):
            entry["frequencies"] = entry["frequencies"][:1]
        rules.append(entry)
    return rules


def tensors_of(net):
    """Names and shapes of the text model's tensors outside the layers, and of the first layer."""
    found = {}
    for name, tensor in net.state_dict().items():
        if "vision" in name or "projector" in name or (".layers." in name
                                                       and ".layers.0." not in name):
            continue
        found[name] = list(tensor.shape)
    if "lm_head.weight" in net.get_expanded_tied_weights_keys(all_submodels=True):
        del found["lm_head.weight"]
    return found


def turns(attention):
    if type(attention).__name__ == "Exaone4Attention":  # as its forward has it
        return attention.sliding_window is None or attention.is_sliding
    return bool(getattr(attention, "use_rope", True))


def expected_of(given):
    config = load(given)
    text = config.get_text_config()
    wrapped = text is not config
    auto = AutoModelForImageTextToText if wrapped else AutoModelForCausalLM
    with torch.device("meta"):
        net = auto.from_config(config)
    inner = net.model.language_model if wrapped else net.model
    attentions = [layer.self_attn for layer in inner.layers]
    scale = getattr(inner.embed_tokens, "scalar_embed_scale", None)
    if scale is None:
        scale = getattr(text, "embedding_multiplier", 1)
    out = {
        "hidden": text.hidden_size, "width": text.intermediate_size, "vocab": text.vocab_size,
        "heads": text.num_attention_heads, "kv_heads": text.num_key_value_heads,
        "head_dim": attentions[0].head_dim, "max_position": text.max_position_embeddings,
        "rms_eps": text.rms_norm_eps,
        "activation": getattr(text, "hidden_activation", None) or text.hidden_act,
        "score_scale": attentions[0].scaling,
        "softcap": getattr(attentions[0], "attn_logit_softcapping", None) or 0,
        "logit_softcap": getattr(text, "final_logit_softcapping", None) or 0,
        "logit_scale": 1 / getattr(text, "logits_scaling", 1),
        "residual_scale": getattr(text, "residual_multiplier", 1), "embedding_scale": scale,
        # Where the attention does not say, its call takes the config's.
        "windows": [getattr(a, "is_sliding", True) and
                    getattr(a, "sliding_window", getattr(text, "sliding_window", None)) or 0
                    for a in attentions],
        "turns": [turns(a) for a in attentions],
        "tensors": tensors_of(net),
    }
    if type(config).__name__ == "Mistral3Config":
        # The class ties the head unless the files have both; published models of this size do.
        out["tensors"]["lm_head.weight"] = [text.vocab_size, text.hidden_size]
    growth = text.rope_parameters.get("llama_4_scaling_beta")
    if growth is not None:
        out["query_growth"] = growth
        out["query_period"] = text.rope_parameters["original_max_position_embeddings"]
    rope = text.rope_parameters
    flat = rope if "rope_type" in rope else rope["full_attention"]
    lengths = [16]
    if flat["rope_type"] == "longrope":
        lengths.append(flat["original_max_position_embeddings"] + 1)
    if flat["rope_type"] == "dynamic":
        lengths.append(text.max_position_embeddings + 1000)
    out["ropes"] = rules_of(text, lengths)
    return out


def main():
    out = pathlib.Path(sys.argv[1] if sys.argv[1:] else pathlib.Path(__file__).parent /
                       "family_configs.json")
    transformers.logging.set_verbosity_error()
    cases = []
    for name, config in CONFIGS.items():
        print(name, flush=True)
        cases.append({"name": name, "config": config, "expected": expected_of(config)})
    lines = ",\n".join(json.dumps(case) for case in cases)
    out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
