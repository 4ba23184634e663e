// The types of the tensors of a GGUF model, as llama.cpp chooses them: a file's type is that of
// most of its tensors, and some that matter more are kept finer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/model/tensors.h"
#include "runtime/io/gguf_blocks.h"

namespace tessera::lora {

struct GgufMix {
  std::string_view name;  // "q4_k_m"
  io::GgufType usual;
  uint32_t number;  // general.file_type
};
/// From the largest to the smallest.
std::span<const GgufMix> gguf_mixes();
/// Null where there is none of that name.
const GgufMix* find_gguf_mix(std::string_view name);

/// The type of each row, which are tensors_of(spec): that of llama_model_quantize without an
/// importance matrix. `architecture` is the name in GGUF.
std::vector<io::GgufType> gguf_types_of(const ModelSpec& spec, std::span<const TensorRow> rows,
                                        const GgufMix& mix, std::string_view architecture);

}  // namespace tessera::lora
