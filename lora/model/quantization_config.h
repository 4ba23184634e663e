// The quantization_config of a checkpoint's config.json. Which linears are quantized, and how, is
// told by the tensors themselves; this says which methods can be read at all.
#pragma once

#include <string_view>

#include "lora/model/config_keys.h"

namespace tessera::lora {

/// Throws Error naming the method, and what to give instead, unless the weights are in a form that
/// is read: bitsandbytes' 4 bits, or 8-bit floats of fine-grained FP8 or compressed-tensors.
/// Nothing where the model is not quantized.
void check_quantization(const ConfigKeys& config);

/// Whether the text of a config.json says that the model is quantized, in whatever way.
bool is_quantized(std::string_view json, std::string_view source);

}  // namespace tessera::lora
