// Tensor types of GGUF files: their names and block sizes, and decoding to float.
// Decoded values are bit-equal to those of the `gguf` Python package: scale times code, and the sum
// with the minimum, are each rounded to float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/core/dtype.h"

namespace tessera::io {

/// The numbers that stand in the file. Those Tessera decodes have names here; others are known to
/// block_of() by number only.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kBF16 = 30,
};

struct GgufBlock {
  std::string_view name;  // "Q4_1"; empty for a number that the format does not define
  uint32_t elements = 0;  // along a row
  uint32_t bytes = 0;
};

GgufBlock block_of(GgufType type);
inline std::string_view name_of(GgufType type) { return block_of(type).name; }
/// Whether decode() knows the type.
bool is_decodable(GgufType type);

/// The type of tensors that hold values of a float dtype as they are.
GgufType stored_as(DType dtype);

/// Decodes whole blocks: out.size() is a multiple of the block's elements and `blocks` holds
/// exactly that many blocks. F32, F16, BF16, Q8_0, Q4_0 and Q4_1.
void decode(GgufType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace tessera::io
