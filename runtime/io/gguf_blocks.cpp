#include "runtime/io/gguf_blocks.h"

#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "runtime/core/error.h"

namespace tessera::io {
namespace {

constexpr size_t kSmall = 32;   // elements of a block of the older types
constexpr size_t kLarge = 256;  // and of the K types

float half(const std::byte* from) {
  f16 value;
  std::memcpy(&value, from, sizeof value);
  return to_float(value);
}

/// `count` numbers of `bits` bits each. The lowest bits of `run` bytes are the first `run` numbers,
/// the next bits of the same bytes the next numbers; then come the next `run` bytes.
template <size_t count, unsigned bits, size_t run>
std::array<uint8_t, count> unpack(const std::byte* bytes) {
  constexpr size_t group = run * (8 / bits);
  constexpr int mask = (1 << bits) - 1;
  static_assert(count % group == 0);
  std::array<uint8_t, count> numbers;
  uint8_t* next = numbers.data();
  for (size_t begin = 0; begin < count; begin += group, bytes += run) {
    for (unsigned shift = 0; shift < 8; shift += bits) {
      for (size_t i = 0; i < run; ++i) *next++ = uint8_t((int(bytes[i]) >> shift) & mask);
    }
  }
  return numbers;
}

/// Adds more bits above the `bits` that the numbers have.
template <unsigned bits, size_t count>
void put_above(std::array<uint8_t, count>& numbers, const std::array<uint8_t, count>& high) {
  for (size_t i = 0; i < count; ++i) numbers[i] = uint8_t(numbers[i] | (high[i] << bits));
}

/// scale * (code - offset).
template <size_t count>
void scaled(float scale, const std::array<uint8_t, count>& codes, int offset, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = scale * float(int(codes[i]) - offset);
}

/// scale * code + min, each rounded.
void shifted(float scale, float min, const std::array<uint8_t, kSmall>& codes, float* out) {
  for (size_t i = 0; i < kSmall; ++i) {
    const float product = scale * float(codes[i]);
    out[i] = product + min;
  }
}

/// One scale for each `n` codes, and the code less `offset`.
template <size_t n>
void scaled_groups(const std::array<float, kLarge / n>& scales,
                   const std::array<uint8_t, kLarge>& codes, int offset, float* out) {
  for (size_t g = 0; g < kLarge / n; ++g) {
    for (size_t i = g * n; i < (g + 1) * n; ++i) out[i] = scales[g] * float(int(codes[i]) - offset);
  }
}

/// One scale and one minimum, which is taken away, for each `n` codes.
template <size_t n>
void shifted_groups(const std::array<float, kLarge / n>& scales,
                    const std::array<float, kLarge / n>& mins,
                    const std::array<uint8_t, kLarge>& codes, float* out) {
  for (size_t g = 0; g < kLarge / n; ++g) {
    for (size_t i = g * n; i < (g + 1) * n; ++i) {
      const float product = scales[g] * float(codes[i]);
      out[i] = product - mins[g];
    }
  }
}

void q4_0(const std::byte* block, float* out) {
  scaled(half(block), unpack<kSmall, 4, 16>(block + 2), 8, out);
}

void q4_1(const std::byte* block, float* out) {
  shifted(half(block), half(block + 2), unpack<kSmall, 4, 16>(block + 4), out);
}

void q5_0(const std::byte* block, float* out) {
  auto codes = unpack<kSmall, 4, 16>(block + 6);
  put_above<4>(codes, unpack<kSmall, 1, 1>(block + 2));
  scaled(half(block), codes, 16, out);
}

void q5_1(const std::byte* block, float* out) {
  auto codes = unpack<kSmall, 4, 16>(block + 8);
  put_above<4>(codes, unpack<kSmall, 1, 1>(block + 4));
  shifted(half(block), half(block + 2), codes, out);
}

void q8_0(const std::byte* block, float* out) {
  const float d = half(block);
  for (size_t i = 0; i < kSmall; ++i) out[i] = d * float(int8_t(block[2 + i]));
}

void q2_k(const std::byte* block, float* out) {
  const float d = half(block + 80), dmin = half(block + 82);
  std::array<float, 16> scales, mins;
  for (size_t g = 0; g < 16; ++g) {
    scales[g] = d * float(int(block[g]) & 15);
    mins[g] = dmin * float(int(block[g]) >> 4);
  }
  shifted_groups<16>(scales, mins, unpack<kLarge, 2, 32>(block + 16), out);
}

void q3_k(const std::byte* block, float* out) {
  auto codes = unpack<kLarge, 2, 32>(block + 32);
  put_above<2>(codes, unpack<kLarge, 1, 32>(block));
  auto sixths = unpack<16, 4, 8>(block + 96);
  put_above<4>(sixths, unpack<16, 2, 4>(block + 104));
  std::array<float, 16> scales;
  scaled(half(block + 108), sixths, 32, scales.data());
  scaled_groups<16>(scales, codes, 4, out);
}

/// The scales and minimums of Q4_K and Q5_K: d, dmin, and 12 bytes that hold 8 + 8 numbers of 6
/// bits. Four of each are whole; the other eight have their high bits above those.
struct ScalesAndMins {
  std::array<float, 8> scales, mins;

  explicit ScalesAndMins(const std::byte* block) {
    const float d = half(block), dmin = half(block + 2);
    const std::byte* packed = block + 4;
    for (size_t i = 0; i < 4; ++i) {
      const int scale = int(packed[i]), min = int(packed[i + 4]), rest = int(packed[i + 8]);
      scales[i] = d * float(scale & 63);
      mins[i] = dmin * float(min & 63);
      scales[i + 4] = d * float((rest & 15) | ((scale >> 6) << 4));
      mins[i + 4] = dmin * float((rest >> 4) | ((min >> 6) << 4));
    }
  }
};

void q4_k(const std::byte* block, float* out) {
  const ScalesAndMins with(block);
  shifted_groups<32>(with.scales, with.mins, unpack<kLarge, 4, 32>(block + 16), out);
}

void q5_k(const std::byte* block, float* out) {
  const ScalesAndMins with(block);
  auto codes = unpack<kLarge, 4, 32>(block + 48);
  put_above<4>(codes, unpack<kLarge, 1, 32>(block + 16));
  shifted_groups<32>(with.scales, with.mins, codes, out);
}

void q6_k(const std::byte* block, float* out) {
  auto codes = unpack<kLarge, 4, 64>(block);
  put_above<4>(codes, unpack<kLarge, 2, 32>(block + 128));
  const float d = half(block + 208);
  std::array<float, 16> scales;
  for (size_t g = 0; g < 16; ++g) scales[g] = d * float(int8_t(block[192 + g]));
  scaled_groups<16>(scales, codes, 32, out);
}

/// What the codes of IQ4_NL and IQ4_XS stand for.
constexpr std::array<float, 16> kIq4 = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

void iq4_nl(const std::byte* block, float* out) {
  const float d = half(block);
  const auto codes = unpack<kSmall, 4, 16>(block + 2);
  for (size_t i = 0; i < kSmall; ++i) out[i] = d * kIq4[codes[i]];
}

void iq4_xs(const std::byte* block, float* out) {
  auto sixths = unpack<8, 4, 1>(block + 4);
  put_above<4>(sixths, unpack<8, 2, 1>(block + 2));
  std::array<float, 8> scales;
  scaled(half(block), sixths, 32, scales.data());
  const auto codes = unpack<kLarge, 4, 16>(block + 8);
  for (size_t i = 0; i < kLarge; ++i) out[i] = scales[i / 32] * kIq4[codes[i]];
}

/// The numbers of 4-bit floats (E2M1), doubled.
constexpr std::array<float, 16> kE2m1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void mxfp4(const std::byte* block, float* out) {
  // Half of 2^(exponent - 127); the two smallest are subnormal.
  const uint32_t exponent = uint32_t(block[0]);
  const float d =
      std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
  const auto codes = unpack<kSmall, 4, 16>(block + 1);
  for (size_t i = 0; i < kSmall; ++i) out[i] = d * kE2m1[codes[i]];
}

template <DType dtype>
void floats(std::span<const std::byte> values, std::span<float> out) {
  to_floats(dtype, values, out);
}

template <auto one, uint32_t elements, uint32_t bytes>
void each(std::span<const std::byte> blocks, std::span<float> out) {
  for (size_t i = 0; i < out.size() / elements; ++i) {
    one(blocks.data() + i * bytes, out.data() + i * elements);
  }
}

template <auto one, uint32_t elements, uint32_t bytes>
constexpr GgufBlock decoded(std::string_view name) {
  return {name, elements, bytes, each<one, elements, bytes>};
}

/// By the number in the file. Rows without a decoder are there so that such files can be listed; a
/// number without a row is refused, because no offset behind it could be checked.
constexpr std::array<GgufBlock, 42> kBlocks{{
    {"F32", 1, 4, floats<DType::kF32>},
    {"F16", 1, 2, floats<DType::kF16>},
    decoded<q4_0, 32, 18>("Q4_0"),
    decoded<q4_1, 32, 20>("Q4_1"),
    {},
    {},
    decoded<q5_0, 32, 22>("Q5_0"),
    decoded<q5_1, 32, 24>("Q5_1"),
    decoded<q8_0, 32, 34>("Q8_0"),
    {"Q8_1", 32, 40},
    decoded<q2_k, 256, 84>("Q2_K"),
    decoded<q3_k, 256, 110>("Q3_K"),
    decoded<q4_k, 256, 144>("Q4_K"),
    decoded<q5_k, 256, 176>("Q5_K"),
    decoded<q6_k, 256, 210>("Q6_K"),
    {"Q8_K", 256, 292},
    {"IQ2_XXS", 256, 66},
    {"IQ2_XS", 256, 74},
    {"IQ3_XXS", 256, 98},
    {"IQ1_S", 256, 50},
    decoded<iq4_nl, 32, 18>("IQ4_NL"),
    {"IQ3_S", 256, 110},
    {"IQ2_S", 256, 82},
    decoded<iq4_xs, 256, 136>("IQ4_XS"),
    {"I8", 1, 1},
    {"I16", 1, 2},
    {"I32", 1, 4},
    {"I64", 1, 8},
    {"F64", 1, 8},
    {"IQ1_M", 256, 56},
    {"BF16", 1, 2, floats<DType::kBF16>},
    {},
    {},
    {},
    {"TQ1_0", 256, 54},
    {"TQ2_0", 256, 66},
    {},
    {},
    {},
    decoded<mxfp4, 32, 17>("MXFP4"),
    {"NVFP4", 64, 36},
    {"Q1_0", 128, 18},
}};

}  // namespace

GgufBlock block_of(GgufType type) {
  return uint32_t(type) < kBlocks.size() ? kBlocks[uint32_t(type)] : GgufBlock{};
}

std::vector<GgufType> decodable_types() {
  std::vector<GgufType> types;
  for (uint32_t i = 0; i < kBlocks.size(); ++i) {
    if (is_decodable(GgufType(i))) types.push_back(GgufType(i));
  }
  return types;
}

std::string decodable_names() {
  std::vector<std::string_view> names;
  for (const GgufType type : decodable_types()) names.push_back(name_of(type));
  return fmt::format("{}", fmt::join(names, ", "));
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
  TESSERA_CHECK(block.decode && out.size() % block.elements == 0 &&
                blocks.size() == out.size() / block.elements * block.bytes);
  block.decode(blocks, out);
}

}  // namespace tessera::io
