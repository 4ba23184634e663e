// Element types, and scalar conversion between float and the two 16-bit floats.
// Conversions round to nearest, ties to even, and keep NaN a NaN; they are exact in the other
// direction.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tessera {

enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kI64, kU8 };

/// Bytes per element.
constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}

/// Whether a weight may have the type: kF32, kBF16 and kF16.
constexpr bool is_float(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kBF16:
    case DType::kF16:
      return true;
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      return false;
  }
  return false;
}

/// "float32", "bfloat16", "float16", "int32", "int64" or "uint8".
std::string_view name_of(DType type);

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

constexpr float to_float(float x) { return x; }
constexpr float to_float(bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
float to_float(f16 x);

constexpr bf16 to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {uint16_t((u >> 16) | 0x40u)};
  return {uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}
f16 to_f16(float x);
/// x as a float type holds it.
float rounded(DType type, float x);

/// All values of a float type; `values` has out.size() of them, at any alignment.
void to_floats(DType type, std::span<const std::byte> values, std::span<float> out);

}  // namespace tessera
