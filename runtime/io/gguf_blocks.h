// Tensor types of GGUF files: their names and block sizes, and decoding to float.
// Decoded values are bit-equal to those of the `gguf` Python package: a block's scale times that of
// a part of it, that times the code, and the sum with the minimum are each rounded to float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/dtype.h"

namespace tessera::io {

/// The numbers that stand in the file. Those that hold plain floats have names here; others are
/// known to block_of() by number only.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kBF16 = 30,
};

struct GgufBlock {
  std::string_view name = {};  // "Q4_1"; empty for a number that the format does not define
  uint32_t elements = 0;       // along a row
  uint32_t bytes = 0;
  /// What decode() calls; null for a type that is not supported.
  void (*decode)(std::span<const std::byte> blocks, std::span<float> out) = nullptr;
};

GgufBlock block_of(GgufType type);
inline std::string_view name_of(GgufType type) { return block_of(type).name; }
/// Whether decode() knows the type.
inline bool is_decodable(GgufType type) { return block_of(type).decode != nullptr; }
/// All such types, in the order of their numbers.
std::vector<GgufType> decodable_types();
/// Their names for a message: "F32, F16, Q4_0, ...".
std::string decodable_names();

/// The type of tensors that hold values of a float dtype as they are.
GgufType stored_as(DType dtype);

/// Decodes whole blocks of a decodable type: out.size() is a multiple of the block's elements and
/// `blocks` holds exactly that many blocks.
void decode(GgufType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace tessera::io
