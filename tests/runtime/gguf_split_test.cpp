// GGUF models in parts: read as one from any of them, and sets that do not fit together refused.
#include "runtime/io/gguf_split.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <tuple>

#include "runtime/io/gguf.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using testing::expect_error;
using testing::GgufBuilder;
using testing::raw;

constexpr uint32_t kF32 = 0;

/// Part `number` (from 0), with the keys and types that llama.cpp writes.
GgufBuilder part_of(uint16_t number, uint16_t count, int32_t tensors) {
  GgufBuilder builder;
  builder.pair("split.no", 2, raw(number)).pair("split.count", 2, raw(count));
  builder.pair("split.tensors.count", 5, raw(tensors));
  return builder;
}

class GgufSplit : public ::testing::Test {
 protected:
  /// Three parts with 0, 2 and 1 tensors, as gguf-split --no-tensor-first-split makes them.
  void SetUp() override {
    write(1, part_of(0, 3, 3).text("general.architecture", "llama"));
    write(
        2,
        part_of(1, 3, 3).tensor("a", {4}, kF32, "aaaabbbbccccdddd").tensor("b", {1}, kF32, "beta"));
    write(3, part_of(2, 3, 3).tensor("c", {2}, kF32, "gammagam"));
  }
  std::string path(int part) const {
    return folder_.file("m-0000" + std::to_string(part) + "-of-00003.gguf");
  }
  void write(int part, const GgufBuilder& builder) const {
    folder_.write(std::filesystem::path(path(part)).filename().string(), builder.build());
  }
  /// Every part gives the same error.
  template <class... Parts>
  void refuse(Parts&&... parts) const {
    for (const int part : {1, 2, 3}) {
      if (!std::filesystem::exists(path(part))) continue;
      expect_error([&] { GgufFile{path(part)}; }, parts...);
    }
  }

  testing::ScratchFolder folder_;
};

TEST_F(GgufSplit, IsOneModelWhicheverPartIsNamed) {
  for (const int part : {1, 2, 3}) {
    GgufFile file(path(part));
    EXPECT_EQ(file.path(), path(1));
    EXPECT_EQ(file.string("general.architecture"), "llama");
    ASSERT_EQ(file.tensors().size(), 3u);
    for (const auto& [name, value, home] :
         {std::tuple("a", "aaaabbbbccccdddd", 2), std::tuple("b", "beta", 2),
          std::tuple("c", "gammagam", 3)}) {
      const GgufTensor* tensor = file.find(name);
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_EQ(file.path_of(*tensor), path(home));
      std::string bytes(tensor->bytes, ' ');
      file.read(*tensor, std::as_writable_bytes(std::span(bytes)));
      EXPECT_EQ(bytes, value);
    }
    const size_t home = file.find("c")->part;
    EXPECT_EQ(std::move(file).take_files()[home].path(), path(3));
  }
}

TEST_F(GgufSplit, RefusesAMissingPart) {
  std::filesystem::remove(path(2));
  refuse(path(2), "missing, one of the 3 parts");
}

TEST_F(GgufSplit, RefusesPartsThatDoNotFitTheirNames) {
  write(2, part_of(1, 4, 3));
  refuse(path(2), "split.no is 1 and split.count is 4; its name asks for 1 and 3");
  write(2, part_of(2, 3, 3));
  refuse(path(2), "split.no is 2 and split.count is 3; its name asks for 1 and 3");
  write(2, GgufBuilder());
  expect_error([&] { GgufFile{path(1)}; }, path(2), "'split.no' is missing");
  write(2, GgufBuilder().text("split.no", "1"));
  expect_error([&] { GgufFile{path(1)}; }, path(2), "'split.no' is not an integer");
}

TEST_F(GgufSplit, RefusesATensorTwiceAndOneTooFew) {
  write(3, part_of(2, 3, 3).tensor("a", {2}, kF32, "gammagam"));
  refuse(path(3), "tensor 'a' is in " + path(2) + " too");
  write(3, part_of(2, 3, 3));
  refuse(path(1), "split.tensors.count is 3, but the 3 parts hold 2 tensors");
}

TEST_F(GgufSplit, RefusesABrokenPart) {
  folder_.write("m-00002-of-00003.gguf", "GGUF");
  expect_error([&] { GgufFile{path(1)}; }, path(2), "ends inside");
}

TEST_F(GgufSplit, RefusesNamesThatLeadToNoOtherPart) {
  const std::string renamed = folder_.write("model.gguf", part_of(0, 3, 3).build());
  expect_error([&] { GgufFile{renamed}; }, renamed, "one of 3 parts", "llama-gguf-split --merge");
  const std::string many = folder_.write("m-00001-of-00513.gguf", part_of(0, 513, 3).build());
  expect_error([&] { GgufFile{many}; }, many, "one of 513 parts, at most 512");
  // One part is a whole model, whatever it is called.
  EXPECT_NO_THROW(GgufFile(folder_.write("whole.gguf", part_of(0, 1, 0).build())));
  EXPECT_NO_THROW(GgufFile(folder_.write("m-00001-of-00002.gguf", GgufBuilder().build())));
}

TEST(GgufPartNames, AreReadToTheLetter) {
  const auto name = gguf_part_name("models.v2/a-00002-of-00010.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->name, "models.v2/a");
  EXPECT_EQ(name->part, 2u);
  EXPECT_EQ(name->count, 10u);
  EXPECT_EQ(name->path_of(10), "models.v2/a-00010-of-00010.gguf");
  for (const char* other : {"", "a.gguf", "-00001-of-00002.gguf", "a-00000-of-00002.gguf",
                            "a-00003-of-00002.gguf", "a-0001-of-0002.gguf", "a-0000x-of-00002.gguf",
                            "a-00001-of-00002.bin", "a_00001-of-00002.gguf"}) {
    EXPECT_FALSE(gguf_part_name(other)) << other;
  }
}

}  // namespace
}  // namespace tessera::io
