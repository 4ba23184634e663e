"""The tiny models of families/: a config.json each, and random weights under published names.

A config is spelled as published ones of its family are: `torch_dtype`, `rope_theta` and
`rope_scaling` as transformers 4 wrote them, or `dtype` and `rope_parameters` as transformers 5
does. What a class has a default for, and published configs leave out, is left out here.

Every number is away from its default and from where a mistake would not show: norms are not 1 (for
Gemma not 0), biases are not 0, epsilons are large, windows and original lengths lie inside the
samples, and heads, kv heads and head sizes do not follow from one another where the family states
them.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch

VOCAB = 160
SAMPLED_BELOW = 140  # ids from here on are left to special tokens

SPLIT = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED_MLP = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]


@dataclass
class Family:
    config: dict
    targets: list = field(default_factory=lambda: SPLIT)
    lengths: tuple = (5, 17, 33)
    prompt: int = 11  # tokens that the greedy continuation begins with
    embedding: float = 1.0  # standard deviation of the embedding
    published: tuple = ()  # (in memory, in published files): prefixes of names

    @property
    def is_gemma(self):
        return "gemma" in self.config["model_type"]

    @property
    def wraps_text(self):
        return "text_config" in self.config

    @property
    def text(self):
        return self.config.get("text_config", self.config)

    def published_name(self, name):
        for ours, theirs in self.published:
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        return name

    def peft_targets(self):
        """The linears of the text model's layers, as a LoraConfig takes them."""
        if not self.wraps_text:
            return sorted(self.targets)
        return rf".*language_model\.layers\.\d+\..*\.({'|'.join(self.targets)})"


def with_sizes(config, hidden, inner, layers, heads, kv_heads, **more):
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": VOCAB,
    }
    if kv_heads is not None:
        sizes["num_key_value_heads"] = kv_heads
    return config | sizes | more


def causal(architecture, model_type, *sizes, **more):
    config = {"architectures": [architecture], "model_type": model_type}
    return with_sizes(config, *sizes, **more)


FAMILIES = {}

FAMILIES["llama"] = Family(
    causal(
        "LlamaForCausalLM", "llama", 48, 80, 3, 3, 1,
        attention_bias=False, attention_dropout=0.0, bos_token_id=141, eos_token_id=[142, 143],
        head_dim=24, hidden_act="silu", max_position_embeddings=256, mlp_bias=False,
        pretraining_tp=1, rms_norm_eps=3e-3, rope_theta=1000.0,
        rope_scaling={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 64, "rope_type": "llama3"},
        tie_word_embeddings=False, torch_dtype="bfloat16",
    )
)  # fmt: skip

FAMILIES["llama_bias"] = Family(
    causal(
        "LlamaForCausalLM", "llama", 48, 80, 3, 3, None,
        attention_bias=True, dtype="bfloat16", max_position_embeddings=128, mlp_bias=True,
        rms_norm_eps=2e-3, rope_parameters={"rope_theta": 3000.0, "rope_type": "default"},
    )
)  # fmt: skip

FAMILIES["llama_dynamic"] = Family(
    causal(
        "LlamaForCausalLM", "llama", 64, 72, 3, 4, 2,
        hidden_act="silu", max_position_embeddings=16, rms_norm_eps=5e-3,
        rope_scaling={"factor": 2.5, "type": "dynamic"}, torch_dtype="bfloat16",
    ),
    lengths=(37, 9, 22), prompt=7,
)  # fmt: skip

FAMILIES["mistral"] = Family(
    causal(
        "MistralForCausalLM", "mistral", 64, 72, 3, 5, 1,
        attention_dropout=0.0, bos_token_id=1, eos_token_id=2, head_dim=20, hidden_act="silu",
        max_position_embeddings=128, rms_norm_eps=4e-3, rope_theta=20000.0, sliding_window=7,
        tie_word_embeddings=False, torch_dtype="bfloat16",
    )
)  # fmt: skip

FAMILIES["ministral"] = Family(
    causal(
        "MinistralForCausalLM", "ministral", 64, 72, 3, 5, 1,
        attention_dropout=0.0, bos_token_id=1, dtype="bfloat16", eos_token_id=2, head_dim=20,
        hidden_act="silu",
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        max_position_embeddings=128, rms_norm_eps=4e-3,
        rope_parameters={"rope_theta": 20000.0, "rope_type": "default"}, sliding_window=6,
    )
)  # fmt: skip

MINISTRAL3_ROPE = {
    "beta_fast": 0.6, "beta_slow": 0.05, "factor": 4.0, "llama_4_scaling_beta": 0.3,
    "mscale": 1.4, "mscale_all_dim": 0.7, "original_max_position_embeddings": 12,
    "rope_theta": 2000.0, "rope_type": "yarn", "type": "yarn",
}  # fmt: skip

FAMILIES["ministral3"] = Family(
    causal(
        "Ministral3ForCausalLM", "ministral3", 64, 72, 3, 5, 1,
        attention_dropout=0.0, bos_token_id=1, dtype="bfloat16", eos_token_id=2, head_dim=20,
        hidden_act="silu", max_position_embeddings=48, pad_token_id=11, rms_norm_eps=2e-3,
        rope_parameters=MINISTRAL3_ROPE, sliding_window=None,
    )
)  # fmt: skip

FAMILIES["qwen2"] = Family(
    causal(
        "Qwen2ForCausalLM", "qwen2", 64, 80, 4, 4, 2,
        attention_dropout=0.0, bos_token_id=151, eos_token_id=152, hidden_act="silu",
        max_position_embeddings=128, max_window_layers=2, rms_norm_eps=2e-3, rope_theta=7000.0,
        sliding_window=6, tie_word_embeddings=True, torch_dtype="bfloat16",
        use_sliding_window=True,
    ),
    embedding=0.3,
)  # fmt: skip

FAMILIES["qwen3"] = Family(
    causal(
        "Qwen3ForCausalLM", "qwen3", 64, 72, 3, 3, 1,
        attention_bias=True, attention_dropout=0.0, bos_token_id=151, eos_token_id=152,
        head_dim=24, hidden_act="silu", max_position_embeddings=64, max_window_layers=3,
        rms_norm_eps=6e-3, rope_theta=1000.0,
        rope_scaling={"factor": 4.0, "original_max_position_embeddings": 16, "rope_type": "yarn",
                      "beta_fast": 1.0, "beta_slow": 0.1, "truncate": False},
        sliding_window=None, torch_dtype="bfloat16", use_sliding_window=False,
    )
)  # fmt: skip

# hidden_act as google/gemma-2b has it: GELU through tanh all the same.
FAMILIES["gemma"] = Family(
    causal(
        "GemmaForCausalLM", "gemma", 72, 80, 3, 3, 1,
        attention_bias=False, attention_dropout=0.0, bos_token_id=2, eos_token_id=1, head_dim=20,
        hidden_act="gelu", max_position_embeddings=128, pad_token_id=0, rms_norm_eps=3e-3,
        rope_theta=3000.0, torch_dtype="bfloat16",
    ),
    embedding=0.12,
)  # fmt: skip

FAMILIES["gemma2"] = Family(
    causal(
        "Gemma2ForCausalLM", "gemma2", 72, 80, 3, 3, 1,
        attention_bias=False, attention_dropout=0.0, attn_logit_softcapping=3.0, bos_token_id=2,
        eos_token_id=1, final_logit_softcapping=5.0, head_dim=20, hidden_act="gelu_pytorch_tanh",
        hidden_activation="gelu_pytorch_tanh", max_position_embeddings=128, pad_token_id=0,
        query_pre_attn_scalar=12, rms_norm_eps=3e-3, rope_theta=3000.0, sliding_window=5,
        torch_dtype="bfloat16",
    ),
    embedding=0.12,
)  # fmt: skip

FAMILIES["gemma3_text"] = Family(
    causal(
        "Gemma3ForCausalLM", "gemma3_text", 72, 68, 4, 3, 1,
        attention_bias=False, attention_dropout=0.0, attn_logit_softcapping=None, bos_token_id=2,
        eos_token_id=1, final_logit_softcapping=None, head_dim=20,
        hidden_activation="gelu_pytorch_tanh", max_position_embeddings=128, pad_token_id=0,
        query_pre_attn_scalar=28, rms_norm_eps=4e-3, rope_local_base_freq=100.0,
        rope_scaling={"factor": 4.0, "rope_type": "linear"}, rope_theta=5000.0, sliding_window=6,
        sliding_window_pattern=3, torch_dtype="bfloat16",
    ),
    embedding=0.12,
)  # fmt: skip

# As google/gemma-3-4b-it: the text model's other settings are the class's defaults.
FAMILIES["gemma3"] = Family(
    {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 155,
        "eoi_token_index": 156,
        "eos_token_id": [1, 106],
        "image_token_index": 157,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 4,
        "model_type": "gemma3",
        "text_config": with_sizes(
            {"model_type": "gemma3_text"}, 32, 40, 7, 4, 1,
            head_dim=16, rope_scaling={"factor": 8.0, "rope_type": "linear"}, sliding_window=6,
        ),
        "torch_dtype": "bfloat16",
        "vision_config": {
            "hidden_size": 16, "image_size": 28, "intermediate_size": 24,
            "model_type": "siglip_vision_model", "num_attention_heads": 2, "num_hidden_layers": 1,
            "patch_size": 14, "vision_use_head": False,
        },
    },
    embedding=0.17,
    published=(
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ),
)  # fmt: skip

# As mistralai/Ministral-3 and Mistral-Small-3.1: the text model beside a Pixtral tower.
FAMILIES["mistral3"] = Family(
    {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "dtype": "bfloat16",
        "image_token_index": 150,
        "model_type": "mistral3",
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
        "spatial_merge_size": 2,
        "text_config": with_sizes(
            {"model_type": "ministral3"}, 48, 64, 3, 5, 1,
            head_dim=16, hidden_act="silu", max_position_embeddings=48, rms_norm_eps=2e-3,
            rope_parameters=MINISTRAL3_ROPE, sliding_window=None, tie_word_embeddings=True,
        ),
        "tie_word_embeddings": True,
        "vision_config": {
            "head_dim": 8, "hidden_act": "silu", "hidden_size": 16, "image_size": 28,
            "intermediate_size": 24, "model_type": "pixtral", "num_attention_heads": 2,
            "num_hidden_layers": 1, "patch_size": 14,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        },
        "vision_feature_layer": -1,
    },
    embedding=0.3,
    published=(
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ),
)  # fmt: skip

# As llava-hf/llava-1.5-7b-hf: a Llama beside a CLIP tower, with a head of its own.
FAMILIES["llava"] = Family(
    {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": 150,
        "model_type": "llava",
        "pad_token_id": 151,
        "projector_hidden_act": "gelu",
        "text_config": with_sizes(
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, 48, 64, 3, 3, 1,
            max_position_embeddings=128, rms_norm_eps=2e-3, torch_dtype="bfloat16",
        ),
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vision_config": {
            "hidden_size": 16, "image_size": 28, "intermediate_size": 24,
            "model_type": "clip_vision_model", "num_attention_heads": 2, "num_hidden_layers": 2,
            "patch_size": 14, "projection_dim": 8,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
    published=(
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ),
)  # fmt: skip

# Samples of 5 and 12 tokens take the short factors, those of 13 and 33 the long ones.
FAMILIES["phi3"] = Family(
    causal(
        "Phi3ForCausalLM", "phi3", 64, 64, 3, 4, 2,
        attention_bias=False, attention_dropout=0.0, bos_token_id=151, embd_pdrop=0.0,
        eos_token_id=152, hidden_act="silu", max_position_embeddings=48,
        original_max_position_embeddings=12, pad_token_id=152, partial_rotary_factor=0.75,
        resid_pdrop=0.0, rms_norm_eps=3e-3,
        rope_scaling={"long_factor": [1.1, 1.3, 1.9, 2.7, 3.6, 4.2],
                      "short_factor": [1.0, 1.05, 1.1, 1.25, 1.5, 1.8], "type": "longrope"},
        rope_theta=900.0, sliding_window=9, tie_word_embeddings=False, torch_dtype="bfloat16",
    ),
    targets=FUSED, lengths=(5, 12, 13, 33), prompt=14,
)  # fmt: skip

FAMILIES["smollm3"] = Family(
    causal(
        "SmolLM3ForCausalLM", "smollm3", 64, 80, 4, 4, 1,
        attention_bias=False, attention_dropout=0.0, bos_token_id=151, eos_token_id=152,
        hidden_act="silu", layer_types=["full_attention"] * 4, max_position_embeddings=128,
        max_window_layers=28, mlp_bias=False, no_rope_layer_interval=4,
        no_rope_layers=[1, 0, 1, 1], pad_token_id=153, pretraining_tp=2, rms_norm_eps=2e-3,
        rope_scaling=None, rope_theta=2500.0, sliding_window=None, torch_dtype="bfloat16",
        use_sliding_window=False,
    ),
    embedding=0.3,
)  # fmt: skip

FAMILIES["granite"] = Family(
    causal(
        "GraniteForCausalLM", "granite", 64, 80, 3, 4, 2,
        attention_bias=False, attention_dropout=0.1, attention_multiplier=0.4, bos_token_id=0,
        embedding_multiplier=2.5, eos_token_id=0, hidden_act="silu", logits_scaling=0.7,
        max_position_embeddings=128, mlp_bias=False, pad_token_id=0, residual_multiplier=0.37,
        rms_norm_eps=4e-3, rope_scaling=None, rope_theta=5000.0, tie_word_embeddings=True,
        torch_dtype="bfloat16",
    ),
    embedding=0.15,
)  # fmt: skip

FAMILIES["olmo2"] = Family(
    causal(
        "Olmo2ForCausalLM", "olmo2", 64, 80, 3, 4, 2,
        attention_bias=False, attention_dropout=0.0, eos_token_id=151, hidden_act="silu",
        max_position_embeddings=128, pad_token_id=150, rms_norm_eps=5e-3, rope_scaling=None,
        rope_theta=4000.0, tie_word_embeddings=False, torch_dtype="bfloat16",
    )
)  # fmt: skip

# rope_theta is that of the published models: transformers 5.24 gives windowed layers the class's
# default of 500000 whatever this key says.
FAMILIES["olmo3"] = Family(
    causal(
        "Olmo3ForCausalLM", "olmo3", 48, 72, 4, 3, 1,
        attention_bias=False, attention_dropout=0.0, eos_token_id=151, hidden_act="silu",
        layer_types=["sliding_attention", "sliding_attention", "full_attention",
                     "sliding_attention"],
        max_position_embeddings=128, pad_token_id=150, rms_norm_eps=3e-3,
        rope_scaling={"attention_factor": 1.13, "beta_fast": 0.4, "beta_slow": 0.05,
                      "factor": 8.0, "original_max_position_embeddings": 16,
                      "rope_type": "yarn"},
        rope_theta=500000, sliding_window=6, tie_word_embeddings=False, torch_dtype="bfloat16",
    )
)  # fmt: skip

# As LGAI-EXAONE/EXAONE-4.0-32B: layers without a window have no rotary positions.
FAMILIES["exaone4"] = Family(
    causal(
        "Exaone4ForCausalLM", "exaone4", 48, 80, 4, 3, 1,
        attention_dropout=0.0, bos_token_id=151, eos_token_id=152, head_dim=20, hidden_act="silu",
        layer_types=["sliding_attention", "full_attention", "sliding_attention",
                     "sliding_attention"],
        max_position_embeddings=256, pad_token_id=150, rms_norm_eps=3e-3,
        rope_scaling={"factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 64, "rope_type": "llama3"},
        rope_theta=1000.0, sliding_window=6, sliding_window_pattern="LLLG",
        tie_word_embeddings=False, torch_dtype="bfloat16",
    )
)  # fmt: skip

# Biases on q, k and v are the class's default.
FAMILIES["seed_oss"] = Family(
    causal(
        "SeedOssForCausalLM", "seed_oss", 48, 72, 3, 3, 1,
        attention_dropout=0.1, attention_out_bias=False, bos_token_id=150, eos_token_id=152,
        head_dim=24, hidden_act="silu", max_position_embeddings=128, mlp_bias=False,
        pad_token_id=151, residual_dropout=0.1, rms_norm_eps=3e-3,
        rope_scaling={"rope_type": "default"}, rope_theta=6000.0, tie_word_embeddings=False,
        torch_dtype="bfloat16",
    )
)  # fmt: skip

# attention_bias and partial_rotary_factor are the class's: true and 0.5.
FAMILIES["glm"] = Family(
    causal(
        "GlmForCausalLM", "glm", 48, 72, 3, 3, 1,
        attention_dropout=0.0, eos_token_id=[151, 152, 153], head_dim=20, hidden_act="silu",
        max_position_embeddings=128, pad_token_id=151, rms_norm_eps=3e-3, rope_theta=3000.0,
        tie_word_embeddings=False, torch_dtype="bfloat16",
    ),
    targets=FUSED_MLP,
)  # fmt: skip

FAMILIES["glm4"] = Family(
    causal(
        "Glm4ForCausalLM", "glm4", 48, 72, 3, 3, 1,
        attention_bias=True, attention_dropout=0.0, eos_token_id=[151, 152, 153], head_dim=24,
        hidden_act="silu", max_position_embeddings=128, pad_token_id=151,
        partial_rotary_factor=0.75, rms_norm_eps=2e-3, rope_theta=2000.0,
        tie_word_embeddings=False, torch_dtype="bfloat16",
    ),
    targets=FUSED_MLP,
)  # fmt: skip


def rng_of(*words):
    return np.random.Generator(np.random.PCG64(zlib.crc32(" ".join(words).encode())))


def random_weight(family, name, shape):
    """Values of one tensor, which depend on its name and size alone; rounded to bfloat16."""
    rng = rng_of(name, *map(str, shape))
    if "vision" in name or "multi_modal" in name:
        values = rng.standard_normal(shape) * 0.1
    elif name.endswith(".bias"):
        values = rng.uniform(-0.4, 0.4, shape)
    elif len(shape) == 1:
        low, high = (-0.3, 1.1) if family.is_gemma else (0.6, 1.4)
        values = rng.uniform(low, high, shape)
    elif "embed_tokens" in name:
        values = rng.standard_normal(shape) * family.embedding
    else:
        gain = 2.0 if "lm_head" in name else 1.3
        values = rng.standard_normal(shape) * gain / np.sqrt(shape[1])
    return torch.from_numpy(values.astype(np.float32)).to(torch.bfloat16)


def samples_of(name, family):
    rng = rng_of("samples", name)
    return [rng.integers(0, SAMPLED_BELOW, length).tolist() for length in family.lengths]


def random_adapter(shapes):
    """A within PEFT's own bounds, B not zero."""
    tensors = {}
    for name, shape in shapes.items():
        rng = rng_of("adapter", name, *map(str, shape))
        if ".lora_A." in name:
            values = rng.uniform(-1, 1, shape) / np.sqrt(shape[1])
        else:
            values = rng.standard_normal(shape) * 0.1
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors
