// Parts of gguf_encode: packing of codes, stored float16 numbers, and the encoders of one block of
// a K type. An encoder returns false where a number that it stores is not finite.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/core/dtype.h"

namespace tessera::io::gguf_block {

/// Stores `bits` bits of each code, those from bit `above` on. The first `run` codes go into the
/// lowest bits of `run` bytes, the next codes above them; then come the next `run` bytes.
template <unsigned bits, size_t run, size_t count>
void pack(const std::array<uint8_t, count>& codes, unsigned above, std::byte* bytes) {
  constexpr size_t group = run * (8 / bits);
  constexpr unsigned mask = (1u << bits) - 1;
  static_assert(count % group == 0);
  for (size_t begin = 0; begin < count; begin += group, bytes += run) {
    for (size_t i = 0; i < run; ++i) {
      unsigned byte = 0;
      for (unsigned k = 0; k < 8 / bits; ++k) {
        byte |= ((codes[begin + k * run + i] >> above) & mask) << (k * bits);
      }
      bytes[i] = std::byte(byte);
    }
  }
}

inline bool is_finite(f16 value) { return (value.bits & 0x7c00u) != 0x7c00u; }

/// Stores a float16 number; false if it is not finite.
inline bool put_half(float value, std::byte* to) {
  const f16 half = to_f16(value);
  std::memcpy(to, &half, sizeof half);
  return is_finite(half);
}

/// 256 values at `x` into one block.
bool q4_k(const float* x, std::byte* block);
bool q5_k(const float* x, std::byte* block);
bool q6_k(const float* x, std::byte* block);

}  // namespace tessera::io::gguf_block
