// The families of models that Tessera knows: one function each, from the keys of a checkpoint's
// config to a ModelSpec. No other file names a family.
#pragma once

#include <string_view>

#include "lora/model/spec.h"

namespace tessera::lora {

/// Reads the text of a Hugging Face config.json; `source` names the file in errors. Both spellings
/// of the rotary settings (rope_theta with rope_scaling, and rope_parameters) are understood.
/// Throws Error naming the key for what is missing, out of range, or not supported.
ModelSpec parse_config(std::string_view json, std::string_view source);

/// What a family's layers are when all of them are alike.
struct LayerSizes {
  int64_t layers = 0;
  int64_t ffn = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};
/// The layers of a Llama. Error where there are none or far too many.
std::vector<LayerSpec> llama_layers(const LayerSizes& sizes, std::string_view source);

}  // namespace tessera::lora
