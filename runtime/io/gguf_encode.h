// Encodes float32 values into the blocks of GGUF tensor types: the inverse of gguf_blocks.h.
// The bytes equal those of llama.cpp without an importance matrix. ggml's reference quantizers
// (ggml-quants.c) define the formats and, for the K types, the search for scales; the order of the
// float operations is a part of that definition.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "runtime/io/gguf_blocks.h"

namespace tessera::io {

/// The types with scales that encode() knows, beside those that hold plain floats.
inline constexpr GgufType kQ4_0{2}, kQ4_1{3}, kQ5_0{6}, kQ5_1{7}, kQ8_0{8}, kQ4_K{12}, kQ5_K{13},
    kQ6_K{14};

/// Whether encode() knows the type.
bool is_encodable(GgufType type);
/// Their names for a message: "F32, F16, Q4_0, ...".
std::string encodable_names();

/// Consecutive rows of a tensor. The name and the first row's number are for messages.
struct GgufRows {
  std::string_view tensor;
  size_t first = 0;
  size_t columns = 0;             // values per row
  std::span<const float> values;  // whole rows
};

/// Encodes whole rows into `blocks`, which holds exactly their blocks of an encodable type. Rows do
/// not depend on each other, so that several threads may each encode some.
/// Throws where a row is not a multiple of the block; where a value is not finite; and where values
/// are too large for the type, that is where a stored scale, minimum or value would be infinite.
void encode(GgufType type, const GgufRows& rows, std::span<std::byte> blocks);

}  // namespace tessera::io
