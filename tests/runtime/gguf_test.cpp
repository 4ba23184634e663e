// GGUF: decoded blocks against the gguf package's bits, and every kind of broken file refused.
#include "runtime/io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "runtime/core/dtype.h"
#include "runtime/io/checked.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using testing::expect_error;
using testing::gguf_text;
using testing::GgufBuilder;
using testing::raw;
using testing::ScratchFolder;

constexpr uint32_t kF32 = 0, kQ4_1 = 3, kIQ2_XXS = 16, kU32 = 4, kText = 8, kArrayType = 9;

class Gguf : public ::testing::Test {
 protected:
  GgufFile open(std::string_view content) const {
    return GgufFile(folder_.write("m.gguf", content));
  }
  template <class... Parts>
  void refuse(std::string_view content, Parts&&... parts) {
    expect_error([&] { open(content); }, folder_.file("m.gguf"), parts...);
  }
  template <class... Parts>
  void refuse(const GgufBuilder& builder, Parts&&... parts) {
    refuse(std::string_view(builder.build()), parts...);
  }
  /// What a builder gives with the first `from` in it replaced.
  static std::string replaced(const GgufBuilder& builder, std::string_view from,
                              std::string_view to) {
    std::string bytes = builder.build();
    return bytes.replace(bytes.find(from), from.size(), to);
  }
  static GgufBuilder small() {
    GgufBuilder builder;
    builder.text("general.architecture", "llama").u32("n", 7);
    builder.array("list", kText, 2, gguf_text("a") + gguf_text("bc"));
    builder.tensor("first", {4, 2}, kF32, std::string(32, 'x'));
    builder.tensor("second", {3}, kF32, "abcdefghijkl");
    return builder;
  }

  ScratchFolder folder_;
};

TEST(GgufBlocks, DecodeToTheBitsOfTheReference) {
  const SafetensorsFile golden(TESSERA_GOLDEN_DIR "/gguf/blocks.safetensors");
  const auto bytes_of = [&](const std::string& name) {
    const SafetensorsEntry* entry = golden.find(name);
    std::vector<std::byte> bytes(entry ? entry->bytes : 0);
    if (entry) golden.read(*entry, bytes);
    return bytes;
  };
  for (const GgufType type : decodable_types()) {
    const std::string name(name_of(type));
    const auto blocks = bytes_of(name + ".blocks");
    const auto values = bytes_of(name + ".values");
    std::vector<float> expected(values.size() / sizeof(float));
    ASSERT_GE(expected.size(), 8 * block_of(type).elements) << name;
    std::memcpy(expected.data(), values.data(), values.size());
    std::vector<float> found(expected.size());
    decode(type, blocks, found);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
          << name << " value " << i << ": " << found[i] << " for " << expected[i];
    }
  }
}

TEST(GgufBlocks, KnowNamesAndSizes) {
  EXPECT_EQ(name_of(GgufType(kIQ2_XXS)), "IQ2_XXS");
  EXPECT_EQ(block_of(GgufType(14)).bytes, 210u);
  EXPECT_FALSE(is_decodable(GgufType(kIQ2_XXS)));
  EXPECT_EQ(decodable_names(),
            "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, "
            "BF16, MXFP4");
  EXPECT_EQ(name_of(GgufType(39)), "MXFP4");
  for (const uint32_t unknown : {4u, 5u, 31u, 38u, 42u, ~0u}) {
    EXPECT_EQ(name_of(GgufType(unknown)), "") << unknown;
  }
}

TEST(CheckedNumbers, StickToInvalid) {
  const Checked max = UINT64_MAX;
  EXPECT_TRUE((max + 0).valid());
  EXPECT_FALSE((max + 1).valid());
  EXPECT_FALSE(((max + 1) * 0).valid());
  EXPECT_FALSE((Checked(uint64_t{1} << 32) * (uint64_t{1} << 32)).valid());
  EXPECT_FALSE(max.round_up(32).valid());
  EXPECT_FALSE((max + 1).round_up(32).fits(UINT64_MAX));
  EXPECT_EQ(Checked(33).round_up(32).value(), 64u);
  EXPECT_EQ(Checked(64).round_up(32).value(), 64u);
  EXPECT_THROW((max + 1).value(), std::logic_error);
}

TEST_F(Gguf, ReadsTensors) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder builder = small();
    builder.version = version;
    const GgufFile file = open(builder.build());
    ASSERT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{2, 4}));
    const GgufTensor* second = file.find("second");
    ASSERT_NE(second, nullptr);
    std::string text(12, ' ');
    file.read(*second, std::as_writable_bytes(std::span(text)));
    EXPECT_EQ(text, "abcdefghijkl");
    EXPECT_EQ(file.find("third"), nullptr);
  }
}

TEST_F(Gguf, ReadsMetadataOfEveryType) {
  GgufBuilder builder;
  builder.pair("u8", 0, raw(uint8_t{255})).pair("i8", 1, raw(int8_t{-1}));
  builder.pair("u16", 2, raw(uint16_t{65535})).pair("i16", 3, raw(int16_t{-2}));
  builder.pair("u32", 4, raw(~0u)).pair("i32", 5, raw(-3)).pair("f32", 6, raw(0.5f));
  builder.pair("yes", 7, raw(uint8_t{1})).pair("u64", 10, raw(uint64_t{9}));
  builder.pair("i64", 11, raw(int64_t{-4})).pair("f64", 12, raw(0.25));
  builder.pair("huge", 10, raw(UINT64_MAX)).pair("odd", 7, raw(uint8_t{2}));
  builder.text("text", "hello").text("empty", "");
  builder.array("numbers", 5, 2, raw(5) + raw(-6)).array("none", kText, 0, "");
  builder.array("texts", kText, 2, gguf_text("a") + gguf_text(std::string(100'000, 'b')));
  builder.array("scores", 6, 2, raw(1.5f) + raw(-2.0f));
  builder.array("flags", 7, 2, std::string("\1\0", 2)).array("odd flags", 7, 1, "\2");
  const GgufFile file = open(builder.build());
  EXPECT_EQ(file.integer("u8"), 255);
  EXPECT_EQ(file.integer("i8"), -1);
  EXPECT_EQ(file.integer("u16"), 65535);
  EXPECT_EQ(file.integer("i16"), -2);
  EXPECT_EQ(file.integer("u32"), 4294967295);
  EXPECT_EQ(file.integer("i32"), -3);
  EXPECT_EQ(file.integer("u64"), 9);
  EXPECT_EQ(file.integer("i64"), -4);
  EXPECT_EQ(file.real("f32"), 0.5);
  EXPECT_EQ(file.real("f64"), 0.25);
  EXPECT_EQ(file.real("i32"), -3.0);
  EXPECT_TRUE(file.boolean("yes"));
  EXPECT_EQ(file.string("text"), "hello");
  EXPECT_EQ(file.string("empty"), "");
  EXPECT_EQ(file.integers("numbers"), (std::vector<int64_t>{5, -6}));
  EXPECT_TRUE(file.strings("none").empty());
  EXPECT_EQ(file.strings("texts")[1], std::string(100'000, 'b'));
  EXPECT_EQ(file.count("texts"), 2u);
  EXPECT_TRUE(file.has("u8"));
  EXPECT_EQ(file.booleans("flags"), (std::vector<bool>{true, false}));
  EXPECT_EQ(file.booleans("numbers"), (std::vector<bool>{true, true}));
  EXPECT_TRUE(file.is_array("numbers"));
  EXPECT_FALSE(file.is_array("u8") || file.is_array("absent"));
  EXPECT_EQ(file.keys().size(), 21u);

  // Asked for what it is not.
  expect_error([&] { file.integer("absent"); }, "'absent' is missing");
  for (const char* key : {"f32", "yes", "huge", "text", "numbers"}) {
    expect_error([&] { file.integer(key); }, key, "not an integer");
  }
  for (const char* key : {"text", "yes", "numbers"}) {
    expect_error([&] { file.real(key); }, key, "not a number");
  }
  expect_error([&] { file.string("u8"); }, "'u8' is not a string");
  expect_error([&] { file.string("texts"); }, "'texts' is not a string");
  expect_error([&] { file.boolean("odd"); }, "'odd'", "not 0 or 1");
  expect_error([&] { file.boolean("u8"); }, "'u8' is not a boolean");
  expect_error([&] { file.booleans("odd flags"); }, "'odd flags'", "not 0 or 1");
  expect_error([&] { file.booleans("scores"); }, "'scores' is not an array of booleans");
  expect_error([&] { file.strings("numbers"); }, "'numbers' is not an array of strings");
  expect_error([&] { file.strings("text"); }, "'text' is not an array of strings");
  expect_error([&] { file.integers("scores"); }, "'scores' is not an array of integers");
}

TEST_F(Gguf, RefusesTruncationAtEveryByte) {
  const std::string whole = small().build();
  EXPECT_NO_THROW(open(whole));
  for (size_t n = 0; n < whole.size(); ++n) refuse(whole.substr(0, n));
}

TEST_F(Gguf, AllowsThePaddingOfTheLastTensorOnly) {
  const std::string whole = small().build();  // ends with 12 bytes of 32
  EXPECT_NO_THROW(open(whole + std::string(20, '\0')));
  refuse(whole + std::string(21, '\0'), "1 bytes follow the last tensor");
}

TEST_F(Gguf, RefusesBadHeaders) {
  refuse("", "not a GGUF file");
  GgufBuilder builder = small();
  builder.magic = "GGUX";
  refuse(builder, "not a GGUF file");
  refuse(std::string("PK\x03\x04", 4) + std::string(64, 'x'), "pickle");
  for (const uint32_t version : {0u, 1u, 4u, ~0u}) {
    builder = small();
    builder.version = version;
    refuse(builder, "GGUF version", "2 and 3");
  }
  builder = small();
  builder.version = 3u << 24;
  refuse(builder, "big-endian");
  for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 63, uint64_t{65537}}) {
    builder = small();
    builder.tensor_count = count;
    refuse(builder, "claims", "tensors");
    builder = small();
    builder.pair_count = count;
    refuse(builder, "claims", "metadata values");
  }
  builder = small();
  builder.pair_count = 60'000;
  refuse(builder);
  builder = small();
  builder.tensor_count = 60'000;
  refuse(builder);
}

TEST_F(Gguf, RefusesBadMetadata) {
  refuse(GgufBuilder().u32("", 1), "key is empty");
  refuse(GgufBuilder().u32("a\nb", 1), "control characters");
  refuse(GgufBuilder().u32("k", 1).u32("k", 2), "'k' appears twice");
  refuse(GgufBuilder().pair("k", 13, raw(1u)), "'k' has the unknown value type 13");
  refuse(GgufBuilder().pair("k", ~0u, raw(1u)), "unknown value type");
  refuse(replaced(GgufBuilder().u32("k", 1), raw(uint64_t{1}) + "k", raw(UINT64_MAX) + "k"),
         "claims 18446744073709551615 bytes");
  refuse(replaced(GgufBuilder().u32("k", 1), raw(uint64_t{1}) + "k", raw(uint64_t{60'000}) + "k"),
         "the file ends inside");
  for (const uint64_t length : {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 31}) {
    refuse(GgufBuilder().pair("k", kText, raw(length) + "text"), "'k'", "claims");
  }
  refuse(GgufBuilder().pair("k", kText, raw(uint64_t{5}) + "text"), "ends inside 'k'");
  for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 62, uint64_t{1} << 30}) {
    refuse(GgufBuilder().array("k", kU32, count, raw(1u)), "'k' claims", "elements");
    refuse(GgufBuilder().array("k", kText, count, gguf_text("")), "'k' claims", "elements");
  }
  refuse(GgufBuilder().array("k", kU32, 2, raw(1u)), "ends inside 'k'");
  refuse(GgufBuilder().array("k", kText, 1'000'000, gguf_text("")), "ends inside 'k'");
  refuse(GgufBuilder().array("k", kArrayType, 1, raw(kU32) + raw(uint64_t{0})),
         "'k' is an array of arrays");
  refuse(GgufBuilder().array("k", 77, 1, raw(1u)), "unknown value type 77");
}

TEST_F(Gguf, RefusesBadAlignment) {
  for (const uint32_t alignment : {0u, 3u, 33u, ~0u, 1u << 21, 1u << 31}) {
    refuse(GgufBuilder().u32("general.alignment", alignment), "general.alignment is");
  }
  refuse(GgufBuilder().pair("general.alignment", 10, raw(uint64_t{32})), "not of type uint32");
  refuse(GgufBuilder().text("general.alignment", "32"), "not of type uint32");
  refuse(GgufBuilder().array("general.alignment", kU32, 1, raw(32u)), "not of type uint32");
  // Built for 32, declared as 64.
  GgufBuilder builder;
  builder.u32("general.alignment", 64);
  builder.tensor("a", {4}, kF32, std::string(16, 'x')).tensor("b", {4}, kF32, std::string(16, 'y'));
  refuse(builder, "'b' begins at byte 32");
  builder = {};
  builder.alignment = 64;
  builder.u32("general.alignment", 64);
  builder.tensor("a", {4}, kF32, std::string(16, 'x')).tensor("b", {4}, kF32, std::string(16, 'y'));
  EXPECT_NO_THROW(open(builder.build()));
}

TEST_F(Gguf, RefusesBadTensors) {
  const auto one = [](std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset = 0) {
    GgufBuilder builder;
    builder.info(name, dims, type, offset);
    builder.data = std::string(64, 'x');
    return builder;
  };
  refuse(one("", {16}, kF32), "name is empty");
  refuse(one("a\x7f", {16}, kF32), "control characters");
  refuse(one(std::string(64, 'n'), {16}, kF32), "claims 64 bytes, at most 63");
  refuse(one("t", {2, 2, 2, 2, 1}, kF32), "'t' has 5 dimensions");
  refuse(one("t", {0}, kF32), "dimension of 0");
  refuse(one("t", {16, 0}, kF32), "dimension of 0");
  refuse(one("t", {UINT64_MAX}, kF32), "dimension of 18446744073709551615");
  refuse(one("t", {uint64_t{1} << 32, uint64_t{1} << 32}, kF32), "too large");
  refuse(one("t", {uint64_t{1} << 62, 4, 4}, kF32), "too large");  // the product wraps to 0
  refuse(one("t", {uint64_t{1} << 62}, kF32), "more bytes than the file");  // so do its bytes
  refuse(one("t", {INT64_MAX}, kF32), "more bytes than the file");
  refuse(one("t", {17}, kF32), "ends beyond the file");
  refuse(one("t", {16}, 4), "'t' has the unknown type 4");
  refuse(one("t", {16}, ~0u), "unknown type 4294967295");
  refuse(one("t", {48}, kQ4_1), "rows of 48", "Q4_1");
  refuse(one("t", {16, 2}, kQ4_1), "rows of 16");
  refuse(one("t", {16}, kF32, 1), "'t' begins at byte 1");
  refuse(one("t", {16}, kF32, 32), "'t' begins at byte 32");
  refuse(one("t", {16}, kF32, UINT64_MAX - 31), "'t' begins at byte");
  GgufBuilder twice;
  twice.tensor("t", {8}, kF32, std::string(32, 'x')).tensor("t", {8}, kF32, std::string(32, 'x'));
  refuse(twice, "'t' appears twice");
  GgufBuilder overlapping;
  overlapping.info("a", {8}, kF32, 0).info("b", {8}, kF32, 0);
  overlapping.data = std::string(64, 'x');
  refuse(overlapping, "'b' begins at byte 0");
  GgufBuilder short_data;
  short_data.info("a", {8}, kF32, 0).info("b", {8}, kF32, 32);
  short_data.data = std::string(63, 'x');
  refuse(short_data, "'b' ends beyond the file");
  EXPECT_NO_THROW(open(one("t", {16}, kF32).build()));
}

TEST_F(Gguf, ListsTypesThatItDoesNotDecode) {
  GgufBuilder builder;
  builder.tensor("t", {256}, kIQ2_XXS, std::string(66, 'x'));
  const GgufFile file = open(builder.build());
  EXPECT_EQ(name_of(file.tensors()[0].type), "IQ2_XXS");
  EXPECT_EQ(file.tensors()[0].bytes, 66u);
}

TEST_F(Gguf, OpensWhatTheReferenceWrote) {
  const GgufFile file(TESSERA_GOLDEN_DIR "/gguf/tiny.gguf");
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("llama.attention.head_count_kv"), 2);
  EXPECT_EQ(file.tensors().size(), 12u);
  EXPECT_EQ(file.find("blk.0.attn_q.weight")->type, GgufType(kQ4_1));
}

}  // namespace
}  // namespace tessera::io
