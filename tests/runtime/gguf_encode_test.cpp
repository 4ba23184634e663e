// Encoded GGUF blocks: the bytes of llama.cpp, and values that a type cannot hold.
#include "runtime/io/gguf_encode.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "runtime/io/hash.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/splitmix64.h"

namespace tessera::io {
namespace {

using testing::expect_error;
using testing::splitmix64;
using testing::unit_value;

constexpr std::array kTypes{GgufType::kF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1,
                            kQ8_0,          kQ4_K, kQ5_K, kQ6_K, GgufType::kBF16};

// The rows of tests/golden/make_gguf_encode.py, whose head has the rule.
constexpr size_t kKinds = 15, kRows = kKinds * 60, kColumns = 512;

uint64_t hash_at(size_t row, size_t column) { return splitmix64(row * kColumns + column); }

float value_at(size_t row, size_t column) {
  const uint64_t h = hash_at(row, column);
  const float u = unit_value(h);
  const int low = int(h & 31);
  const size_t group = column / 32;
  switch (row % kKinds) {
    case 1:
      return u * u * u;
    case 2:
      return h & 7 ? 0.0f : u;
    case 3:
      return unit_value(hash_at(row, group * 32));
    case 4:
      return u * 0x1p-10f - 1.0f;
    case 5:
      return u * 0x1p-10f + 1.0f;
    case 6:
      return std::ldexp(u, -low);
    case 7:
      return std::ldexp(u, -int(group));
    case 8:
      return column == 77 ? 100.0f : u * 0x1p-6f;
    case 9:
      return float(low - 15) * 0.25f;
    case 10:
      return h & 1 ? -0.0f : 0.0f;
    case 11:
      return u * 0x1p-130f;
    case 12:
      return u * 0x1p-20f;
    case 13:
      return u * 0x1p15f;
    case 14:
      return column % 32 == 0 ? 127.0f : float(low) - 15.5f;
  }
  return u;
}

const std::vector<float>& golden_rows() {
  static const std::vector<float> rows = [] {
    std::vector<float> values;
    for (size_t i = 0; i < kRows * kColumns; ++i) {
      values.push_back(value_at(i / kColumns, i % kColumns));
    }
    return values;
  }();
  return rows;
}

std::vector<std::byte> encoded(GgufType type, const GgufRows& rows) {
  const GgufBlock block = block_of(type);
  std::vector<std::byte> blocks(rows.values.size() / block.elements * block.bytes);
  encode(type, rows, blocks);
  return blocks;
}

std::vector<std::byte> golden_bytes(const SafetensorsFile& golden, const std::string& name) {
  const SafetensorsEntry* entry = golden.find(name);
  std::vector<std::byte> bytes(entry ? entry->bytes : 0);
  if (entry) golden.read(*entry, bytes);
  return bytes;
}

TEST(GgufEncode, GivesTheBytesOfLlamaCpp) {
  const SafetensorsFile golden(TESSERA_GOLDEN_DIR "/gguf_encode/blocks.safetensors");
  for (const GgufType type : kTypes) {
    const std::string name(name_of(type));
    const auto found = encoded(type, {"t", 0, kColumns, golden_rows()});
    const auto expected = golden_bytes(golden, name + ".blocks");
    ASSERT_EQ(expected.size() * kRows, found.size() * kKinds) << name;
    const size_t row_bytes = found.size() / kRows;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(found[i], expected[i])
          << name << ", row " << i / row_bytes << ", block " << i % row_bytes / block_of(type).bytes
          << ", byte " << i % row_bytes % block_of(type).bytes;
    }
    const auto digest = golden_bytes(golden, name + ".hash");
    uint64_t hash = 0;
    ASSERT_EQ(digest.size(), sizeof hash) << name;
    std::memcpy(&hash, digest.data(), sizeof hash);
    EXPECT_EQ(hash_bytes(found, 0), hash) << name;
  }
}

TEST(GgufEncode, EncodesEachRowByItself) {
  const std::span<const float> rows(golden_rows());
  for (const GgufType type : kTypes) {
    auto whole = encoded(type, {"t", 0, kColumns, rows.first(3 * kColumns)});
    const auto first = encoded(type, {"t", 0, kColumns, rows.first(kColumns)});
    const auto rest = encoded(type, {"t", 1, kColumns, rows.subspan(kColumns, 2 * kColumns)});
    std::vector<std::byte> parts = first;
    parts.insert(parts.end(), rest.begin(), rest.end());
    EXPECT_EQ(parts, whole) << name_of(type);
  }
}

TEST(GgufEncode, KeepsPlainFloats) {
  const std::vector<float> values = {1.5f, -0.0f, 0x1p-149f, std::numeric_limits<float>::max()};
  const auto bytes = encoded(GgufType::kF32, {"t", 0, 2, values});
  EXPECT_EQ(std::memcmp(bytes.data(), values.data(), bytes.size()), 0);
}

TEST(GgufEncode, RefusesRowsWithPartsOfBlocks) {
  const std::vector<float> values(2 * 288);
  expect_error(
      [&] {
        encoded(kQ4_K, {"blk.0.ffn_up.weight", 0, 288, values});
      },
      "'blk.0.ffn_up.weight'", "rows of 288", "Q4_K", "256 values in a block", "F16");
  encoded(kQ5_0, {"t", 0, 288, values});
  expect_error([&] { encoded(kQ8_0, {"t", 0, 24, values}); }, "rows of 24", "Q8_0", "32 values");
}

TEST(GgufEncode, RefusesValuesThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const GgufType type : kTypes) {
      std::vector<float> values(3 * 512, 0.5f);
      values[2 * 512 + 300] = bad;
      expect_error(
          [&] {
            encoded(type, {"out\nput", 40, 512, values});
          },
          "'out?put'", "row 42", "column 300", name_of(type), fmt::format("{}", bad), "finite");
    }
  }
}

TEST(GgufEncode, RefusesValuesThatAreTooLarge) {
  const auto with = [](float value) {
    std::vector<float> values(2 * 256, 0.5f);
    values[256 + 9] = value;
    return values;
  };
  const float max = std::numeric_limits<float>::max();
  struct Limit {
    GgufType type;
    float fits, exceeds;
  };
  for (const auto& [type, fits, exceeds] :
       {Limit{GgufType::kF16, 65504, 65520}, Limit{kQ4_0, 5e5f, 6e5f}, Limit{kQ4_1, 9e5f, 1.1e6f},
        Limit{kQ5_0, 1e6f, 1.1e6f}, Limit{kQ5_1, 2e6f, 2.1e6f}, Limit{kQ8_0, 8e6f, 9e6f},
        Limit{kQ4_K, 6e7f, 7e7f}, Limit{kQ5_K, 1e8f, 2e8f}, Limit{kQ6_K, 2e8f, 3e8f},
        Limit{GgufType::kBF16, 0x1.fep127f, max}}) {
    encoded(type, {"t", 0, 256, with(fits)});
    const auto values = with(exceeds);
    expect_error(
        [&] {
          encoded(type, {"t", 7, 256, values});
        },
        "'t'", "row 8", "too large", name_of(type), fmt::format("{}", exceeds), "F32");
  }
  // The minimum, while the scale is zero.
  expect_error([&] { encoded(kQ4_K, {"t", 0, 256, std::vector<float>(256, -1e7f)}); }, "too large");
  // llama.cpp writes zeros here: the squares of the values have no float.
  expect_error([&] { encoded(kQ6_K, {"t", 0, 256, std::vector<float>(256, 1e20f)}); }, "too large");
}

TEST(GgufEncode, KnowsItsTypes) {
  EXPECT_EQ(encodable_names(), "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16");
  EXPECT_TRUE(is_encodable(kQ6_K));
  EXPECT_FALSE(is_encodable(GgufType{10}));  // Q2_K
}

}  // namespace
}  // namespace tessera::io
