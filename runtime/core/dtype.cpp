#include "runtime/core/dtype.h"

#include <algorithm>
#include <cstring>

#include "runtime/core/error.h"

namespace tessera {
namespace {

template <class T>
void each_to_float(const std::byte* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof value, sizeof value);
    out[i] = to_float(value);
  }
}

}  // namespace

std::string_view name_of(DType type) {
  switch (type) {
    case DType::kF32:
      return "float32";
    case DType::kBF16:
      return "bfloat16";
    case DType::kF16:
      return "float16";
    case DType::kI32:
      return "int32";
    case DType::kI64:
      return "int64";
    case DType::kU8:
      return "uint8";
  }
  return "?";
}

float to_float(f16 x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // A subnormal is mantissa * 2^-24, which float holds exactly.
  const float magnitude = float(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

f16 to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint16_t sign = uint16_t((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {uint16_t(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {uint16_t(sign | 0x7c00u)};
  if (magnitude < 0x38800000u) {
    // Subnormal result: adding 0.5 aligns the mantissa so that the hardware rounds to even for us.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {uint16_t(sign | ((rounded - 0x38000000u) >> 13))};
}

float rounded(DType type, float x) {
  switch (type) {
    case DType::kBF16:
      return to_float(to_bf16(x));
    case DType::kF16:
      return to_float(to_f16(x));
    case DType::kF32:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  TESSERA_CHECK(type == DType::kF32);
  return x;
}

void to_floats(DType type, std::span<const std::byte> values, std::span<float> out) {
  TESSERA_CHECK(is_float(type) && values.size() == out.size() * size_of(type));
  switch (type) {
    case DType::kF32:
      std::ranges::copy(values, std::as_writable_bytes(out).begin());
      return;
    case DType::kBF16:
      return each_to_float<bf16>(values.data(), out);
    case DType::kF16:
      return each_to_float<f16>(values.data(), out);
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      return;
  }
}

}  // namespace tessera
