#include "lora/model/families.h"

#include <algorithm>
#include <cmath>

#include "lora/model/model_keys.h"
#include "lora/model/rope_config.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

// The norms of a layer in the order of the forward, with the names of both formats, where they are
// not Llama's.

constexpr NormName kGemmaNorms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kAfterAttention, "post_attention_layernorm", "post_attention_norm"},
    {NormSite::kBeforeMlp, "pre_feedforward_layernorm", "ffn_norm"},
    {NormSite::kAfterMlp, "post_feedforward_layernorm", "post_ffw_norm"},
};
constexpr NormName kOlmoNorms[] = {
    {NormSite::kAfterAttention, "post_attention_layernorm", "post_attention_norm"},
    {NormSite::kAfterMlp, "post_feedforward_layernorm", "post_ffw_norm"},
};
constexpr NormName kSeedOssNorms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kBeforeMlp, "post_attention_layernorm", "post_attention_norm"},
};
constexpr NormName kGlm4Norms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kAfterAttention, "post_self_attn_layernorm", "post_attention_norm"},
    {NormSite::kBeforeMlp, "post_attention_layernorm", "ffn_norm"},
    {NormSite::kAfterMlp, "post_mlp_layernorm", "post_ffw_norm"},
};

void set_windows(int64_t window, ModelSpec& spec) {
  for (LayerSpec& layer : spec.layers) layer.attention.window = window;
}

/// llama.cpp's converters of these families are subclasses of Llama's.
void set_interleaved_in_gguf(ModelSpec& spec) {
  for (LayerSpec& layer : spec.layers) layer.attention.interleaved_in_gguf = true;
}

// The families, a reader each. The defaults are those of the classes in transformers.

constexpr int32_t kEosOfLlama[] = {2}, kEosOfGemma[] = {1}, kEosOfPhi[] = {32000},
                  kEosOfSmolLm[] = {128001}, kEosOfOlmo[] = {50279},
                  kEosOfGlm[] = {151329, 151336, 151338};

ModelSpec read_llama(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.bos_id = 1, .eos_ids = kEosOfLlama});
  read_biases(keys, spec);
  set_interleaved_in_gguf(spec);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

constexpr ClassDefaults kMistralClass = {
    .kv_heads = 8, .max_position = 4096 * 32, .bos_id = 1, .eos_ids = kEosOfLlama};

/// All layers have the window; the class ignores layer_types.
ModelSpec read_mistral(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, kMistralClass);
  set_interleaved_in_gguf(spec);
  set_windows(read_window(keys, 4096), spec);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

ModelSpec read_ministral(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, kMistralClass);
  const int64_t window = read_window(keys, 4096);
  read_windows(
      keys, window, [&](int64_t) { return window > 0; }, spec);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

ModelSpec read_ministral3(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 8,
                                     .head_dim = 128,
                                     .max_position = 262144,
                                     .rms_eps = 1e-5,
                                     .pad_id = 11,
                                     .bos_id = 1,
                                     .eos_ids = kEosOfLlama});
  set_interleaved_in_gguf(spec);
  set_windows(read_window(keys, 0), spec);
  spec.ropes = {read_rope(keys, spec,
                          {.grows_queries = true,
                           .parameters = R"({"rope_type": "yarn", "rope_theta": 1e6, "factor": 16,
                                             "original_max_position_embeddings": 16384,
                                             "mscale": 1, "mscale_all_dim": 1,
                                             "llama_4_scaling_beta": 0.1})"})};
  return spec;
}

/// The windows of Qwen: with use_sliding_window, those of the layers from max_window_layers on.
void read_qwen_windows(const ConfigKeys& keys, ModelSpec& spec) {
  const int64_t window = keys.boolean("use_sliding_window", false) ? read_window(keys, 4096) : 0;
  const int64_t first = keys.integer("max_window_layers", 0, SpecLimits::kPosition, 28);
  read_windows(
      keys, window, [&](int64_t layer) { return window > 0 && layer >= first; }, spec);
}

ModelSpec read_qwen2(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 32, .max_position = 32768});
  for (LayerSpec& layer : spec.layers) layer.attention.qkv_bias = true;
  read_qwen_windows(keys, spec);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

ModelSpec read_qwen3(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 32, .head_dim = 128, .max_position = 32768});
  for (LayerSpec& layer : spec.layers) layer.attention.qk_norm = QkNorm::kPerHead;
  read_attention_bias(keys, spec);
  read_qwen_windows(keys, spec);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// All Gemmas.
ModelSpec read_gemma_model(const ConfigKeys& keys, const ClassDefaults& of_class) {
  ModelSpec spec = read_model(keys, of_class);
  read_attention_bias(keys, spec);
  spec.norm_plus = 1;
  spec.embedding_scale = std::sqrt(double(spec.hidden));
  spec.rounds_embedding_scale = true;
  return spec;
}

ModelSpec read_gemma(const ConfigKeys& keys) {
  ModelSpec spec = read_gemma_model(keys, {.kv_heads = 16,
                                           .head_dim = 256,
                                           .max_position = 8192,
                                           .tied_head = true,
                                           .activation = "gelu_pytorch_tanh",
                                           .pad_id = 0,
                                           .bos_id = 2,
                                           .eos_ids = kEosOfGemma,
                                           .gelu_is_tanh = true});
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// Gemma 2 and 3.
ModelSpec read_newer_gemma(const ConfigKeys& keys, const ClassDefaults& of_class, int64_t pattern) {
  ModelSpec spec = read_gemma_model(keys, of_class);
  const double scalar = keys.positive("query_pre_attn_scalar", 256.0);
  for (LayerSpec& layer : spec.layers) {
    layer.norms = kGemmaNorms;
    layer.attention.score_scale = 1 / std::sqrt(scalar);
  }
  read_windows(
      keys, read_window(keys, 4096), [&](int64_t layer) { return (layer + 1) % pattern != 0; },
      spec);
  return spec;
}

ModelSpec read_gemma2(const ConfigKeys& keys) {
  ModelSpec spec = read_newer_gemma(keys,
                                    {.kv_heads = 4,
                                     .head_dim = 256,
                                     .max_position = 8192,
                                     .tied_head = true,
                                     .activation_key = "hidden_activation",
                                     .activation = "gelu_pytorch_tanh",
                                     .pad_id = 0,
                                     .bos_id = 2,
                                     .eos_ids = kEosOfGemma},
                                    2);
  const double softcap = read_softcap(keys, "attn_logit_softcapping", 50.0);
  for (LayerSpec& layer : spec.layers) layer.attention.softcap = softcap;
  spec.logit_softcap = read_softcap(keys, "final_logit_softcapping", 30.0);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// Published configs leave out sizes that are the class's.
ModelSpec read_gemma3(const ConfigKeys& keys) {
  ModelSpec spec =
      read_newer_gemma(keys,
                       {.vocab = 262208,
                        .heads = 8,
                        .kv_heads = 4,
                        .head_dim = 256,
                        .max_position = 131072,
                        .tied_head = true,
                        .activation_key = "hidden_activation",
                        .activation = "gelu_pytorch_tanh",
                        .pad_id = 0,
                        .bos_id = 2,
                        .eos_ids = kEosOfGemma},
                       keys.integer("sliding_window_pattern", 1, SpecLimits::kLayers, 6));
  if (keys.find("attn_logit_softcapping")) {
    fail("{}: attn_logit_softcapping is given, which transformers does not apply in this family",
         keys.source());
  }
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qk_norm = QkNorm::kPerHead;
    layer.attention.rope = layer.attention.window > 0 ? kSlidingRope : kFullRope;
  }
  spec.logit_softcap = read_softcap(keys, "final_logit_softcapping", 0.0);
  spec.ropes = read_ropes_by_layer_type(
      keys, spec, {.full = 1e6, .sliding = 1e4, .sliding_key = "rope_local_base_freq"});
  return spec;
}

ModelSpec read_phi3(const ConfigKeys& keys) {
  ModelSpec spec = read_model(
      keys,
      {.max_position = 4096, .rms_eps = 1e-5, .pad_id = 32000, .bos_id = 1, .eos_ids = kEosOfPhi});
  for (const char* key : {"resid_pdrop", "embd_pdrop"}) {
    if (keys.positive_or_zero(key, 0.0) > 0) fail("{}: {} is not supported", keys.source(), key);
  }
  for (LayerSpec& layer : spec.layers) layer.attention.fused = layer.mlp.fused = true;
  set_windows(read_window(keys, 0), spec);
  spec.ropes = {read_rope(
      keys, spec, {.turns_parts = true, .original_max_position = 4096, .longrope_only = true})};
  return spec;
}

/// no_rope_layers has a 1 for each layer whose heads turn.
std::vector<bool> layers_that_turn(const ConfigKeys& keys, int64_t layers) {
  const int64_t interval = keys.integer("no_rope_layer_interval", 1, SpecLimits::kLayers, 4);
  const json* listed = keys.find("no_rope_layers");
  if (listed && (!listed->is_array() || int64_t(listed->size()) < layers)) {
    keys.wrong("no_rope_layers", *listed, "a 0 or 1 for each layer");
  }
  std::vector<bool> turns;
  for (int64_t i = 0; i < layers; ++i) {
    turns.push_back(listed ? keys.as_integer("no_rope_layers", (*listed)[size_t(i)], 0, 1) == 1
                           : (i + 1) % interval != 0);
  }
  return turns;
}

ModelSpec read_smollm3(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 4,
                                     .max_position = 32768,
                                     .tied_head = true,
                                     .pad_id = 128004,
                                     .bos_id = 128000,
                                     .eos_ids = kEosOfSmolLm});
  read_biases(keys, spec);
  set_interleaved_in_gguf(spec);
  const std::vector<bool> turns = layers_that_turn(keys, spec.layer_count());
  for (size_t i = 0; i < turns.size(); ++i) {
    if (!turns[i]) spec.layers[i].attention.rope = AttentionSpec::kNoRope;
  }
  const int64_t window = read_window(keys, 0);
  const bool used = keys.boolean("use_sliding_window", false) && window > 0;
  read_windows(
      keys, window, [&](int64_t layer) { return used && !turns[size_t(layer)]; }, spec);
  spec.ropes = {read_rope(keys, spec, {.theta = 2e6})};
  return spec;
}

ModelSpec read_granite(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.bos_id = 1, .eos_ids = kEosOfLlama});
  read_biases(keys, spec);
  set_interleaved_in_gguf(spec);
  spec.embedding_scale = keys.positive("embedding_multiplier", 1.0);
  spec.logit_scale = 1 / keys.positive("logits_scaling", 1.0);
  const double of_scores = keys.positive("attention_multiplier", 1.0);
  const double of_residuals = keys.positive("residual_multiplier", 1.0);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.score_scale = of_scores;
    layer.residual_scale = of_residuals;
  }
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// OLMo 2 and 3.
ModelSpec read_olmo_model(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.rms_eps = 1e-5, .pad_id = 1, .eos_ids = kEosOfOlmo});
  read_attention_bias(keys, spec);
  for (LayerSpec& layer : spec.layers) {
    layer.norms = kOlmoNorms;
    layer.attention.qk_norm = QkNorm::kWholeWidth;
  }
  return spec;
}

ModelSpec read_olmo2(const ConfigKeys& keys) {
  ModelSpec spec = read_olmo_model(keys);
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// The class uses rope_theta of the config for the layers that see everything only.
ModelSpec read_olmo3(const ConfigKeys& keys) {
  ModelSpec spec = read_olmo_model(keys);
  read_windows(
      keys, read_window(keys, 4096), [](int64_t layer) { return (layer + 1) % 4 != 0; }, spec);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.rope = layer.attention.window > 0 ? kSlidingRope : kFullRope;
  }
  spec.ropes =
      read_ropes_by_layer_type(keys, spec, {.full = 5e5, .sliding = 5e5, .sliding_key = nullptr});
  return spec;
}

/// With windows, the heads of the layers that see everything do not turn. Published configs list
/// the layers beside a pattern, "LLLG", which the class cannot read.
ModelSpec read_exaone4(const ConfigKeys& keys) {
  ModelSpec spec =
      read_model(keys, {.kv_heads = 32, .rms_eps = 1e-5, .bos_id = 0, .eos_ids = kEosOfLlama});
  const int64_t window = read_window(keys, 4096);
  const auto slides = [&](int64_t layer) {
    return window > 0 &&
           (layer + 1) % keys.integer("sliding_window_pattern", 1, SpecLimits::kLayers, 4) != 0;
  };
  read_windows(keys, window, slides, spec);
  for (LayerSpec& layer : spec.layers) {
    layer.norms = kOlmoNorms;
    layer.attention.qk_norm = QkNorm::kPerHead;
    if (window > 0 && layer.attention.window == 0) layer.attention.rope = AttentionSpec::kNoRope;
  }
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

ModelSpec read_seed_oss(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 8,
                                     .head_dim = 128,
                                     .max_position = 524288,
                                     .pad_id = 1,
                                     .bos_id = 0,
                                     .eos_ids = kEosOfLlama});
  const auto dropout = [&](const char* key) {
    return keys.find(key) ? keys.positive_or_zero(key, 0.0) : 0.1;
  };
  spec.attention_dropout = dropout("attention_dropout");
  spec.residual_dropout = dropout("residual_dropout");
  read_biases(keys, spec);
  const bool qkv_bias = keys.boolean("attention_bias", true);
  const bool o_bias = keys.boolean("attention_out_bias", false);
  for (LayerSpec& layer : spec.layers) {
    layer.norms = kSeedOssNorms;
    layer.attention.qkv_bias = qkv_bias;
    layer.attention.o_bias = o_bias;
  }
  spec.ropes = {read_rope(keys, spec)};
  return spec;
}

/// The GLM-4 of 2024, and what the later one shares with it.
ModelSpec read_glm(const ConfigKeys& keys) {
  ModelSpec spec = read_model(keys, {.kv_heads = 2,
                                     .head_dim = 128,
                                     .max_position = 131072,
                                     .rms_eps = 1.5625e-7,
                                     .pad_id = 151329,
                                     .eos_ids = kEosOfGlm});
  const bool bias = keys.boolean("attention_bias", true);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qkv_bias = bias;
    layer.mlp.fused = true;
  }
  spec.ropes = {read_rope(keys, spec, {.partial = 0.5, .turns_parts = true, .interleaved = true})};
  return spec;
}

ModelSpec read_glm4(const ConfigKeys& keys) {
  ModelSpec spec = read_glm(keys);
  for (LayerSpec& layer : spec.layers) layer.norms = kGlm4Norms;
  return spec;
}

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", "llama", "", read_llama},
    {"MistralForCausalLM", "mistral", "mistral3", "", read_mistral},
    {"MinistralForCausalLM", "ministral", "", "", read_ministral},
    {"Ministral3ForCausalLM", "ministral3", "mistral3", "attention.temperature_scale",
     read_ministral3},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", "", read_qwen2},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", "", read_qwen3},
    {"GemmaForCausalLM", "gemma", "gemma", "", read_gemma},
    {"Gemma2ForCausalLM", "gemma2", "gemma2", "", read_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", "gemma3", "", read_gemma3},
    {"Phi3ForCausalLM", "phi3", "phi3", "", read_phi3},
    {"SmolLM3ForCausalLM", "smollm3", "smollm3", "", read_smollm3},
    {"GraniteForCausalLM", "granite", "granite", "", read_granite},
    {"Olmo2ForCausalLM", "olmo2", "olmo2", "", read_olmo2},
    {"Olmo3ForCausalLM", "olmo3", "olmo2", "attention.sliding_window", read_olmo3},
    {"Exaone4ForCausalLM", "exaone4", "exaone4", "", read_exaone4},
    {"SeedOssForCausalLM", "seed_oss", "seed_oss", "", read_seed_oss},
    {"GlmForCausalLM", "glm", "chatglm", "", read_glm},
    {"Glm4ForCausalLM", "glm4", "glm4", "", read_glm4},
};

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family* find_family(std::string_view Family::*name, std::string_view value) {
  const auto found = std::ranges::find(kFamilies, value, name);
  return found == std::end(kFamilies) ? nullptr : found;
}

const Family& family_of_gguf(std::string_view architecture,
                             FunctionRef<bool(std::string_view key)> has, std::string_view source) {
  const Family* found = nullptr;
  for (const Family& family : kFamilies) {
    if (architecture.empty() || family.gguf != architecture) continue;
    if (family.gguf_mark.empty() || has(family.gguf_mark)) found = &family;  // the marked one last
  }
  if (found) return *found;
  fail("{}: architecture '{}' is not supported; supported: {}", source, io::printable(architecture),
       names_of(&Family::gguf));
}

std::string names_of(std::string_view Family::*name) {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) {
    const std::string_view value = family.*name;
    if (!value.empty() && std::ranges::find(names, value) == names.end()) names.push_back(value);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace tessera::lora
