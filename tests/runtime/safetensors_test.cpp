// safetensors: every rule of the strict reader has a file made here that breaks it, and the writer
// gives the bytes of the Python package.
#include "runtime/io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::ScratchFolder;

std::string number(uint64_t value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string file_of(std::string_view header, size_t data_bytes) {
  std::string bytes = number(header.size()) + std::string(header);
  for (size_t i = 0; i < data_bytes; ++i) bytes += char('a' + i % 26);
  return bytes;
}

std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"t":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape,
                     offsets);
}

class Safetensors : public ::testing::Test {
 protected:
  template <class... Parts>
  void refuse(std::string_view content, Parts&&... parts) {
    const std::string path = folder_.write("m.safetensors", content);
    expect_error([&] { SafetensorsFile file(path); }, path, parts...);
  }
  void accept(std::string_view content) {
    const std::string path = folder_.write("m.safetensors", content);
    EXPECT_NO_THROW(SafetensorsFile file(path)) << content;
  }

  ScratchFolder folder_;
};

TEST_F(Safetensors, ReadsEntriesAndMetadata) {
  const std::string path = folder_.write(
      "m.safetensors", file_of(R"({"__metadata__":{"format":"pt","k":"v"},)"
                               R"("b":{"dtype":"U8","shape":[2,3],"data_offsets":[4,10]},)"
                               R"("a":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}  )",
                               10));
  const SafetensorsFile file(path);
  ASSERT_EQ(file.entries().size(), 2u);
  EXPECT_EQ(file.entries()[0].name, "a");
  EXPECT_EQ(file.entries()[0].shape, std::vector<int64_t>{});
  const SafetensorsEntry* b = file.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  std::string text(6, ' ');
  file.read(*b, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, "efghij");
  std::string part(2, ' ');
  file.read(*b, 3, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "hi");
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.metadata().at("k"), "v");
}

TEST(SafetensorsDtypes, AreThoseOfTessera) {
  const std::pair<DType, const char*> names[] = {{DType::kF32, "F32"}, {DType::kBF16, "BF16"},
                                                 {DType::kF16, "F16"}, {DType::kI32, "I32"},
                                                 {DType::kI64, "I64"}, {DType::kU8, "U8"}};
  for (const auto& [dtype, name] : names) {
    EXPECT_EQ(safetensors_name(dtype), name);
    EXPECT_EQ(safetensors_dtype(name), dtype);
  }
  for (const char* foreign : {"F64", "I8", "BOOL", "f32", ""}) {
    EXPECT_EQ(safetensors_dtype(foreign), std::nullopt) << foreign;
  }
}

TEST_F(Safetensors, AcceptsWhatTheFormatAllows) {
  accept(file_of("{}", 0));
  accept(file_of("  \n{}\t ", 0));
  accept(file_of(one("F32", "[0,7]", "[0,0]"), 0));
  accept(file_of(one("F4", "[2,3]", "[0,3]"), 3));
  // The zero decides, whatever stands before it.
  accept(file_of(one("U8", "[400000000000000000,0]", "[0,0]"), 0));
  accept(file_of(one("U8", "[0,400000000000000000]", "[0,0]"), 0));
  // An empty tensor may share its place with another.
  accept(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                 R"("b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                 4));
}

TEST_F(Safetensors, RefusesLyingLengths) {
  refuse("", "0 bytes");
  refuse("1234567", "7 bytes");
  refuse(number(100'000'001) + "{}", "claims 100000001");
  refuse(number(UINT64_MAX) + "{}", "claims 18446744073709551615");
  refuse(number(UINT64_MAX - 7) + "{}", "claims");
  refuse(number(3) + "{}", "cut short");
  // The limit holds even where the file (with a hole on disk) is as long as it claims.
  const std::string sparse = folder_.write("sparse", number(100'000'008));
  fs::resize_file(sparse, 100'000'016);
  expect_error([&] { SafetensorsFile file(sparse); }, "claims 100000008", "at most 100000000");
  refuse(number(0), "does not begin with '{'");
}

TEST_F(Safetensors, RefusesTruncationAtEveryByte) {
  const std::string whole = file_of(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],)"
      R"("data_offsets":[4,12]}})",
      12);
  accept(whole);
  for (size_t n = 0; n < whole.size(); ++n) refuse(whole.substr(0, n));
  refuse(whole + "x", "1 bytes follow");
}

TEST_F(Safetensors, RefusesWhatIsNoHeader) {
  refuse(file_of("[]", 0), "does not begin with '{'");
  refuse(file_of("\xef\xbb\xbf{}", 0), "does not begin with '{'");
  refuse(file_of("{", 0), "invalid JSON");
  refuse(file_of("{} x", 0), "invalid JSON");
  refuse(file_of(std::string_view("{}\0\0", 4), 0), "NUL");
  refuse(file_of("{\"\xff\":1}", 0), "invalid JSON");
  refuse(file_of(R"({"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
         "invalid JSON");
  refuse(file_of("{\"a\":" + std::string(1'000'000, '['), 0), "found an array");
}

TEST_F(Safetensors, RefusesBadEntries) {
  refuse(file_of(R"({"t":7})", 0), "'t'", "the number 7");
  refuse(file_of(R"({"t":null})", 0), "null");
  refuse(file_of(R"({"t":{}})", 0), "is missing");
  refuse(file_of(R"({"t":{"dtype":"U8","shape":[0]}})", 0), "is missing");
  refuse(file_of(R"({"t":{"dtype":"U8","dtype":"U8"}})", 0), "'dtype' appears twice");
  refuse(file_of(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0),
         "unknown field 'x'");
  refuse(file_of(R"({"t":{"dtype":{"a":1}}})", 0), "an object");
  refuse(file_of(one("f32", "[1]", "[0,4]"), 4), "unknown dtype 'f32'");
  refuse(file_of(one("", "[1]", "[0,4]"), 4), "unknown dtype");
  refuse(file_of(one("F32", "[1.0]", "[0,4]"), 4), "1.0");
  refuse(file_of(one("F32", "[-1]", "[0,4]"), 4), "-1");
  refuse(file_of(one("F32", "[true]", "[0,4]"), 4), "a boolean");
  refuse(file_of(one("F32", "[[1]]", "[0,4]"), 4), "an array");
  refuse(file_of(one("F32", "\"1\"", "[0,4]"), 4), "a string");
  refuse(file_of(one("F32", "1", "[0,4]"), 4), "the number 1");
  refuse(file_of(one("F32", "[9223372036854775808]", "[0,4]"), 4), "too large");
  refuse(file_of(one("F32", "[18446744073709551616]", "[0,4]"), 4), "18446744073709551616");
  refuse(file_of(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), "more than 8 dimensions");
}

TEST_F(Safetensors, RefusesBadOffsets) {
  refuse(file_of(one("U8", "[4]", "[0]"), 4), "1 numbers");
  refuse(file_of(one("U8", "[4]", "[0,4,4]"), 4), "more than two");
  refuse(file_of(one("U8", "[4]", "[4,0]"), 4), "before they begin");
  refuse(file_of(one("U8", "[4]", "[0,5]"), 5), "need 4 bytes", "give 5");
  refuse(file_of(one("U8", "[4]", "[-1,3]"), 4), "-1");
  refuse(file_of(one("U8", "[4]", "[0,4.5]"), 4), "4.5");
  refuse(file_of(one("U8", "[4]", "[1,5]"), 5), "hole");
  refuse(file_of(one("U8", "[4]", "[0,4]"), 3), "beyond the file");
  refuse(file_of(one("U8", "[4]", "[18446744073709551610,18446744073709551614]"), 4), "hole");
  const auto two = [](std::string_view a, std::string_view b) {
    return file_of(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                               R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                               a, b),
                   8);
  };
  accept(two("[4,8]", "[0,4]"));
  refuse(two("[0,4]", "[2,6]"), "'b'", "overlap");
  refuse(two("[0,4]", "[0,4]"), "'b'", "overlap");
  refuse(two("[0,4]", "[5,9]"), "'b'", "hole");
}

TEST_F(Safetensors, RefusesSizesThatOverflow) {
  refuse(file_of(one("F32", "[4294967296,4294967296]", "[0,0]"), 0), "whole number of bytes");
  refuse(file_of(one("U8", "[9223372036854775807,9223372036854775807]", "[0,1]"), 1), "whole");
  refuse(file_of(one("F64", "[2305843009213693952]", "[0,0]"), 0), "whole");
  refuse(file_of(one("F32", "[4611686018427387905]", "[0,4]"), 4), "whole");  // wraps to 4 bytes
  refuse(file_of(one("U8", "[0,9223372036854775807,2]", "[0,0]"), 0), "whole");
  refuse(file_of(one("U8", "[9223372036854775807,2,0]", "[0,0]"), 0), "whole");
  refuse(file_of(one("F4", "[3]", "[0,1]"), 1), "whole number of bytes");
}

TEST_F(Safetensors, RefusesBadNames) {
  const auto named = [](std::string_view name) {
    return file_of(
        fmt::format(R"({{"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}})", name), 0);
  };
  accept(named("a"));
  refuse(named(""), "bad tensor name");
  refuse(named("a\\u0000b"), "bad tensor name");
  refuse(named("a\\nb"), "bad tensor name");
  refuse(named(std::string(1025, 'x')), "bad tensor name");
  refuse(file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                 R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                 0),
         "'a' appears twice");
}

TEST_F(Safetensors, RefusesBadMetadata) {
  refuse(file_of(R"({"__metadata__":7})", 0), "strings only");
  refuse(file_of(R"({"__metadata__":{"a":7}})", 0), "strings only");
  refuse(file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "strings only");
  refuse(file_of(R"({"__metadata__":{"a":"b","a":"c"}})", 0), "'a' twice");
  refuse(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "appears twice");
}

TEST_F(Safetensors, BoundsTheNumberOfTensors) {
  std::string header = "{";
  for (int i = 0; i <= 1'000'000; ++i) {
    header += fmt::format("\"{}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},", i);
  }
  header.back() = '}';
  refuse(file_of(header, 0), "more than 1000000 tensors");
}

TEST_F(Safetensors, RefusesPicklesByContent) {
  refuse(std::string("PK\x03\x04\x00\x00\x08\x08", 8) + std::string(64, 'x'), "pickle",
         "safetensors");
  refuse(std::string("\x80\x02\x8a\x0alul9", 8) + std::string(64, 'x'), "pickle");
  // Its first byte alone makes no pickle: a header of 640 bytes begins with 80 02 as well.
  accept(file_of("{" + std::string(638, ' ') + "}", 0));
}

TEST_F(Safetensors, RefusesAFolder) {
  fs::create_directory(folder_.file("d"));
  fs::create_directory_symlink(folder_.file("d"), folder_.file("model.safetensors"));
  expect_error([&] { SafetensorsFile file(folder_.file("model.safetensors")); },
               "not a regular file");
}

TEST_F(Safetensors, WritesTheBytesOfTheReference) {
  const std::string golden = TESSERA_GOLDEN_DIR "/safetensors/mixed.safetensors";
  const SafetensorsFile source(golden);
  auto layout = source.entries();
  std::reverse(layout.begin(), layout.end());  // the writer has its own order
  SafetensorsWriter writer(folder_.file("copy"), layout);
  for (const SafetensorsEntry& entry : writer.entries()) {
    std::vector<std::byte> bytes(entry.bytes);
    source.read(*source.find(entry.name), bytes);
    const size_t half = bytes.size() / 2;
    writer.write(entry.name, std::span(bytes).first(half));
    writer.write(entry.name, std::span(bytes).subspan(half));
  }
  writer.commit();
  EXPECT_EQ(testing::bytes_of_file(folder_.file("copy")), testing::bytes_of_file(golden));
}

TEST_F(Safetensors, WriterInsistsOnItsLayout) {
  const std::string path = folder_.file("w");
  {
    SafetensorsWriter writer(path, {{.name = "a", .dtype = "U8", .shape = {2}},
                                    {.name = "b", .dtype = "U8", .shape = {2}}});
    const std::array<std::byte, 3> bytes{};
    EXPECT_THROW(writer.write("b", std::span(bytes).first(2)), std::logic_error);
    EXPECT_THROW(writer.write("a", bytes), std::logic_error);
    writer.write("a", std::span(bytes).first(2));
    EXPECT_THROW(writer.write("c", std::span(bytes).first(2)), std::logic_error);
    EXPECT_THROW(writer.commit(), std::logic_error);
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_THROW(SafetensorsWriter(path, {{.name = "a", .dtype = "F33", .shape = {2}}}),
               std::logic_error);
  EXPECT_THROW(SafetensorsWriter(path, {{.name = "a", .dtype = "U8", .shape = {2}},
                                        {.name = "a", .dtype = "U8", .shape = {2}}}),
               std::logic_error);
}

}  // namespace
}  // namespace tessera::io
