// For tests: the spec of a Llama of a few sizes.
#pragma once

#include "lora/model/families.h"

namespace tessera::testing {

struct LlamaSizes {
  int64_t hidden = 48;
  lora::LayerSizes of_layers = {.layers = 2, .ffn = 100, .heads = 4, .kv_heads = 2, .head_dim = 16};
  int64_t vocab = 0;
};

inline lora::ModelSpec llama_spec(const LlamaSizes& sizes) {
  lora::ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.hidden = sizes.hidden;
  spec.vocab = sizes.vocab;
  spec.layers = lora::find_family(&lora::Family::model_type, "llama")->layers(sizes.of_layers);
  return spec;
}

}  // namespace tessera::testing
