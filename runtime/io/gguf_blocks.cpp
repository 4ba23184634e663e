#include "runtime/io/gguf_blocks.h"

#include <array>
#include <cstring>

#include "runtime/core/error.h"

namespace tessera::io {
namespace {

// Types that newer files may hold follow here when a reader for their sizes is wanted; an unknown
// number is refused, because no offset behind it could be checked.
constexpr std::array<GgufBlock, 42> kBlocks{{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"Q4_0", 32, 18},
    {"Q4_1", 32, 20},
    {},
    {},
    {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},
    {"Q8_0", 32, 34},
    {"Q8_1", 32, 40},
    {"Q2_K", 256, 84},
    {"Q3_K", 256, 110},
    {"Q4_K", 256, 144},
    {"Q5_K", 256, 176},
    {"Q6_K", 256, 210},
    {"Q8_K", 256, 292},
    {"IQ2_XXS", 256, 66},
    {"IQ2_XS", 256, 74},
    {"IQ3_XXS", 256, 98},
    {"IQ1_S", 256, 50},
    {"IQ4_NL", 32, 18},
    {"IQ3_S", 256, 110},
    {"IQ2_S", 256, 82},
    {"IQ4_XS", 256, 136},
    {"I8", 1, 1},
    {"I16", 1, 2},
    {"I32", 1, 4},
    {"I64", 1, 8},
    {"F64", 1, 8},
    {"IQ1_M", 256, 56},
    {"BF16", 1, 2},
    {},
    {},
    {},
    {"TQ1_0", 256, 54},
    {"TQ2_0", 256, 66},
    {},
    {},
    {},
    {"MXFP4", 32, 17},
    {"NVFP4", 64, 36},
    {"Q1_0", 128, 18},
}};

constexpr size_t kCodes = 32;  // per block, of each quantized type decoded here

float half(const std::byte* from) {
  f16 value;
  std::memcpy(&value, from, sizeof value);
  return to_float(value);
}

/// Element i of a block is the low half of byte i, element i + 16 the high half.
template <class Value>
void four_bits(const std::byte* codes, float* out, Value value) {
  for (size_t i = 0; i < kCodes / 2; ++i) {
    const int byte = int(codes[i]);
    out[i] = value(byte & 15);
    out[i + kCodes / 2] = value(byte >> 4);
  }
}

void q4_0(const std::byte* block, float* out) {
  const float d = half(block);
  four_bits(block + 2, out, [&](int code) { return d * float(code - 8); });
}

void q4_1(const std::byte* block, float* out) {
  const float d = half(block);
  const float m = half(block + 2);
  four_bits(block + 4, out, [&](int code) {
    const float product = d * float(code);
    return product + m;
  });
}

void q8_0(const std::byte* block, float* out) {
  const float d = half(block);
  for (size_t i = 0; i < kCodes; ++i) out[i] = d * float(int8_t(block[2 + i]));
}

}  // namespace

GgufBlock block_of(GgufType type) {
  return uint32_t(type) < kBlocks.size() ? kBlocks[uint32_t(type)] : GgufBlock{};
}

bool is_decodable(GgufType type) {
  switch (type) {
    case GgufType::kF32:
    case GgufType::kF16:
    case GgufType::kBF16:
    case GgufType::kQ4_0:
    case GgufType::kQ4_1:
    case GgufType::kQ8_0:
      return true;
  }
  return false;
}

GgufType stored_as(DType dtype) {
  TESSERA_CHECK(is_float(dtype));
  switch (dtype) {
    case DType::kBF16:
      return GgufType::kBF16;
    case DType::kF16:
      return GgufType::kF16;
    case DType::kF32:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  return GgufType::kF32;
}

void decode(GgufType type, std::span<const std::byte> blocks, std::span<float> out) {
  const GgufBlock block = block_of(type);
  TESSERA_CHECK(is_decodable(type) && out.size() % block.elements == 0 &&
                blocks.size() == out.size() / block.elements * block.bytes);
  const auto each = [&](void (*one)(const std::byte* block, float* out)) {
    for (size_t i = 0; i < out.size() / block.elements; ++i) {
      one(blocks.data() + i * block.bytes, out.data() + i * block.elements);
    }
  };
  switch (type) {
    case GgufType::kF32:
      return to_floats(DType::kF32, blocks, out);
    case GgufType::kF16:
      return to_floats(DType::kF16, blocks, out);
    case GgufType::kBF16:
      return to_floats(DType::kBF16, blocks, out);
    case GgufType::kQ4_0:
      return each(q4_0);
    case GgufType::kQ4_1:
      return each(q4_1);
    case GgufType::kQ8_0:
      return each(q8_0);
  }
}

}  // namespace tessera::io
