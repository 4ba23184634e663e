// GGUF files as they are written: byte by byte, and as the reader sees them.
#include "runtime/io/gguf_writer.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/io/gguf.h"
#include "runtime/io/gguf_encode.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;
using tessera::testing::gguf_text;
using tessera::testing::GgufBuilder;
using tessera::testing::raw;
using tessera::testing::ScratchFolder;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

GgufMetadata some_metadata() {
  GgufMetadata metadata;
  metadata.put_text("general.architecture", "llama");
  metadata.put_u32("llama.block_count", 7);
  metadata.put_f32("llama.eps", 1e-5f);
  metadata.put_texts("tokens", std::vector<std::string>{"a", "", "\u00e9"});
  metadata.put_i32s("types", std::vector<int32_t>{1, -3});
  return metadata;
}

TEST(GgufWriter, HasTheBytesOfTheFormat) {
  ScratchFolder folder;
  const std::string first(12, 'x'), second(34, 'y');  // 3 floats; a block of Q8_0
  GgufLayout layout = lay_out(some_metadata(), {{.name = "one", .shape = {3}},
                                                {.name = "two", .type = kQ8_0, .shape = {1, 32}}});
  const uint64_t size = layout.file_bytes;
  const std::string path = folder.file("model.gguf");
  GgufWriter writer(path, std::move(layout));
  writer.write("one", bytes_of(first));
  writer.write("two", bytes_of(second).first(10));
  writer.write("two", bytes_of(second).subspan(10));
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.commit();

  GgufBuilder expected;
  expected.text("general.architecture", "llama").u32("llama.block_count", 7);
  expected.f32("llama.eps", 1e-5f);
  expected.array("tokens", 8, 3, gguf_text("a") + gguf_text("") + gguf_text("\u00e9"));
  expected.array("types", 5, 2, raw(int32_t(1)) + raw(int32_t(-3)));
  expected.tensor("one", {3}, 0, first).tensor("two", {32, 1}, 8, second);
  std::string bytes = expected.build();
  bytes.resize((bytes.size() + 31) / 32 * 32, '\0');  // the last tensor is padded, too
  EXPECT_EQ(bytes_of_file(path), bytes);
  EXPECT_EQ(size, bytes.size());
}

TEST(GgufWriter, TheReaderFindsWhatWasPut) {
  ScratchFolder folder;
  GgufMetadata metadata = some_metadata();
  metadata.put_bool("yes", true);
  metadata.put_bools("flags", {true, false, true});
  metadata.put_f32s("scores", std::vector<float>{0.5f, -2});
  metadata.put_i8s("small", std::vector<int8_t>{-1, 7});
  const std::string path = folder.file("model.gguf");
  GgufWriter(path, lay_out(metadata, {})).commit();
  const GgufFile file(path);
  EXPECT_EQ(file.keys().size(), metadata.count());
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("llama.block_count"), 7);
  EXPECT_EQ(file.real("llama.eps"), double(1e-5f));
  EXPECT_TRUE(file.boolean("yes"));
  EXPECT_EQ(file.booleans("flags"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(file.reals("scores"), (std::vector<double>{0.5, -2}));
  EXPECT_EQ(file.integers("small"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(file.strings("tokens"), (std::vector<std::string>{"a", "", "\u00e9"}));
}

TEST(GgufWriter, LeavesNothingBehindWithoutCommit) {
  ScratchFolder folder;
  { GgufWriter writer(folder.file("model.gguf"), lay_out(some_metadata(), {})); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(GgufWriter, RefusesWhatNoFileCanHold) {
  GgufMetadata metadata = some_metadata();
  expect_error([&] { metadata.put_u32("llama.eps", 1); }, "llama.eps", "twice");
  const auto laid_out = [&](std::vector<GgufEntry> entries) {
    return [&metadata, entries] { lay_out(metadata, entries); };
  };
  expect_error(laid_out({{.name = "t", .type = kQ4_K, .shape = {2, 32}}}), "'t'", "32", "256",
               "Q4_K");
  expect_error(laid_out({{.name = "t", .shape = {2}}, {.name = "t", .shape = {2}}}), "'t'",
               "twice");
  expect_error(laid_out({{.name = "t", .shape = {}}}), "'t'", "dimensions");
  expect_error(laid_out({{.name = "t", .shape = {1, 1, 1, 1, 2}}}), "'t'", "dimensions");
}

}  // namespace
}  // namespace tessera::io
