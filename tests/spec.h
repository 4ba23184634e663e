// For tests: the spec of a Llama of a few sizes, and of a model that no family has.
#pragma once

#include "lora/model/spec.h"

namespace tessera::testing {

/// Of layers that are all alike.
struct LayerSizes {
  int64_t layers, ffn, heads, kv_heads, head_dim;
};

struct LlamaSizes {
  int64_t hidden = 48;
  LayerSizes of_layers = {.layers = 2, .ffn = 100, .heads = 4, .kv_heads = 2, .head_dim = 16};
  int64_t vocab = 0;
};

inline lora::ModelSpec llama_spec(const LlamaSizes& sizes) {
  lora::ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.hidden = sizes.hidden;
  spec.vocab = sizes.vocab;
  static constexpr lora::NormName kNorms[] = {
      {lora::NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
      {lora::NormSite::kBeforeMlp, "post_attention_layernorm", "ffn_norm"},
  };
  const LayerSizes& of = sizes.of_layers;
  lora::LayerSpec layer;
  layer.attention = {.heads = of.heads,
                     .kv_heads = of.kv_heads,
                     .head_dim = of.head_dim,
                     .interleaved_in_gguf = true};
  layer.mlp = {.width = of.ffn};
  layer.norms = kNorms;
  spec.layers.assign(size_t(of.layers), layer);
  spec.ropes.front().dims = of.head_dim;
  return spec;
}

/// Two layers with biases, norms of queries and keys, and norms behind attention and MLP. They
/// differ from each other, also in the order in which GGUF has the rows of q and k.
inline lora::ModelSpec made_up_spec() {
  using lora::NormSite;
  static constexpr lora::NormName kPostNorms[] = {
      {NormSite::kAfterAttention, "post_attention_layernorm", "post_attention_norm"},
      {NormSite::kAfterMlp, "post_feedforward_layernorm", "post_ffw_norm"},
  };
  lora::ModelSpec spec = llama_spec({.vocab = 96});
  spec.architecture = "MadeUpForCausalLM";
  spec.tied_head = true;
  for (lora::LayerSpec& layer : spec.layers) {
    layer.norms = kPostNorms;
    layer.attention.qkv_bias = true;
    layer.attention.qk_norm = lora::QkNorm::kPerHead;
  }
  lora::LayerSpec& second = spec.layers[1];
  second.attention = {.heads = 3,
                      .kv_heads = 1,
                      .head_dim = 32,
                      .qkv_bias = true,
                      .o_bias = true,
                      .qk_norm = lora::QkNorm::kWholeWidth};
  second.mlp = {.width = 60, .bias = true};
  return spec;
}

}  // namespace tessera::testing
