#include "runtime/io/gguf_encode.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/gguf_encode_block.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

using gguf_block::pack;
using gguf_block::put_half;

constexpr size_t kSmall = 32;  // elements of a block of the older types

using Codes = std::array<uint8_t, kSmall>;

/// 1 / d; zero for a block whose values are all zero, or all the same.
float inverse(float d) { return d != 0 ? 1.0f / d : 0.0f; }

/// x without its fraction, as eight bits. Where d is so small that 1 / d is infinite, x may be
/// infinite or NaN: the code is then zero.
uint8_t truncated(float x) { return std::abs(x) < 0x1p31f ? uint8_t(int32_t(x)) : uint8_t(0); }

/// The first of the values that are largest in magnitude.
float extreme(const float* x) {
  float found = 0;
  for (size_t i = 0; i < kSmall; ++i) {
    if (std::abs(found) < std::abs(x[i])) found = x[i];
  }
  return found;
}

/// Codes around the middle `half`. The extreme value gets code zero, so that its sign has the code
/// which the other sign lacks.
template <int half>
float around_zero(const float* x, Codes& codes) {
  const float d = extreme(x) / -half;
  const float inverse_d = inverse(d);
  for (size_t i = 0; i < kSmall; ++i) {
    const uint8_t code = truncated(x[i] * inverse_d + (float(half) + 0.5f));
    codes[i] = std::min<uint8_t>(code, 2 * half - 1);
  }
  return d;
}

struct Line {
  float d, min;
};

/// Codes from zero at the smallest value to `largest` at the largest.
template <int largest>
Line above_min(const float* x, Codes& codes) {
  float min = FLT_MAX, max = -FLT_MAX;
  for (size_t i = 0; i < kSmall; ++i) {
    min = std::min(min, x[i]);
    max = std::max(max, x[i]);
  }
  const float d = (max - min) / largest;
  const float inverse_d = inverse(d);
  for (size_t i = 0; i < kSmall; ++i) {
    const uint8_t code = truncated((x[i] - min) * inverse_d + 0.5f);
    codes[i] = std::min<uint8_t>(code, largest);
  }
  return {d, min};
}

bool f32(const float* x, std::byte* block) {
  std::memcpy(block, x, sizeof *x);
  return true;
}

bool f16_value(const float* x, std::byte* block) { return put_half(*x, block); }

bool bf16_value(const float* x, std::byte* block) {
  const bf16 value = to_bf16(*x);
  std::memcpy(block, &value, sizeof value);
  return std::isfinite(to_float(value));
}

bool q4_0(const float* x, std::byte* block) {
  Codes codes;
  const float d = around_zero<8>(x, codes);
  pack<4, 16>(codes, 0, block + 2);
  return put_half(d, block);
}

bool q4_1(const float* x, std::byte* block) {
  Codes codes;
  const Line line = above_min<15>(x, codes);
  pack<4, 16>(codes, 0, block + 4);
  return put_half(line.d, block) && put_half(line.min, block + 2);
}

bool q5_0(const float* x, std::byte* block) {
  Codes codes;
  const float d = around_zero<16>(x, codes);
  pack<1, 1>(codes, 4, block + 2);
  pack<4, 16>(codes, 0, block + 6);
  return put_half(d, block);
}

bool q5_1(const float* x, std::byte* block) {
  Codes codes;
  const Line line = above_min<31>(x, codes);
  pack<1, 1>(codes, 4, block + 4);
  pack<4, 16>(codes, 0, block + 8);
  return put_half(line.d, block) && put_half(line.min, block + 2);
}

bool q8_0(const float* x, std::byte* block) {
  const float d = std::abs(extreme(x)) / 127;
  const float inverse_d = inverse(d);
  for (size_t i = 0; i < kSmall; ++i) {
    block[2 + i] = std::byte(truncated(std::round(x[i] * inverse_d)));
  }
  return put_half(d, block);
}

/// Encodes a row; false if a number that is stored is not finite.
using EncodeRow = bool (*)(std::span<const float> row, std::byte* blocks);

template <auto one, size_t elements, size_t bytes>
bool each(std::span<const float> row, std::byte* blocks) {
  bool finite = true;
  for (size_t i = 0; i < row.size() / elements; ++i) {
    finite = one(row.data() + i * elements, blocks + i * bytes) && finite;
  }
  return finite;
}

struct Encoder {
  GgufType type;
  EncodeRow encode_row;
};

constexpr std::array kEncoders{
    Encoder{GgufType::kF32, each<f32, 1, 4>},
    Encoder{GgufType::kF16, each<f16_value, 1, 2>},
    Encoder{kQ4_0, each<q4_0, 32, 18>},
    Encoder{kQ4_1, each<q4_1, 32, 20>},
    Encoder{kQ5_0, each<q5_0, 32, 22>},
    Encoder{kQ5_1, each<q5_1, 32, 24>},
    Encoder{kQ8_0, each<q8_0, 32, 34>},
    Encoder{kQ4_K, each<gguf_block::q4_k, 256, 144>},
    Encoder{kQ5_K, each<gguf_block::q5_k, 256, 176>},
    Encoder{kQ6_K, each<gguf_block::q6_k, 256, 210>},
    Encoder{GgufType::kBF16, each<bf16_value, 1, 2>},
};

EncodeRow encoder_of(GgufType type) {
  const auto found = std::ranges::find(kEncoders, type, &Encoder::type);
  return found == kEncoders.end() ? nullptr : found->encode_row;
}

void check_finite(GgufType type, const GgufRows& rows, size_t row, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float x) { return !std::isfinite(x); });
  if (bad == values.end()) return;
  fail(
      "tensor '{}', row {}, column {}: {} cannot be written as {}; expected a finite value. The "
      "weights are damaged: take them from an earlier checkpoint",
      printable(rows.tensor), rows.first + row, bad - values.begin(), *bad, name_of(type));
}

[[noreturn]] void fail_too_large(GgufType type, const GgufRows& rows, size_t row,
                                 std::span<const float> values) {
  const auto magnitude = [](float x) { return std::abs(x); };
  fail("tensor '{}', row {}: values up to {} are too large for {}; write this tensor as F32",
       printable(rows.tensor), rows.first + row, magnitude(std::ranges::max(values, {}, magnitude)),
       name_of(type));
}

}  // namespace

bool is_encodable(GgufType type) { return encoder_of(type) != nullptr; }

std::string encodable_names() {
  std::vector<std::string_view> names;
  for (const Encoder& encoder : kEncoders) names.push_back(name_of(encoder.type));
  return fmt::format("{}", fmt::join(names, ", "));
}

void encode(GgufType type, const GgufRows& rows, std::span<std::byte> blocks) {
  const EncodeRow encode_row = encoder_of(type);
  const GgufBlock block = block_of(type);
  TESSERA_CHECK(encode_row && rows.columns > 0 && rows.values.size() % rows.columns == 0);
  if (rows.columns % block.elements != 0) {
    fail(
        "tensor '{}': rows of {} values cannot be written as {}, which holds {} values in a "
        "block; write this tensor in a type with smaller blocks, or as F16",
        printable(rows.tensor), rows.columns, block.name, block.elements);
  }
  const size_t row_bytes = rows.columns / block.elements * block.bytes;
  const size_t count = rows.values.size() / rows.columns;
  TESSERA_CHECK(blocks.size() == count * row_bytes);
  for (size_t row = 0; row < count; ++row) {
    const std::span values = rows.values.subspan(row * rows.columns, rows.columns);
    check_finite(type, rows, row, values);
    if (!encode_row(values, blocks.data() + row * row_bytes)) {
      fail_too_large(type, rows, row, values);
    }
  }
}

}  // namespace tessera::io
