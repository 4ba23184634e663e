// Files: reads that never go past the end or hang, writes that appear whole or not at all.
#include "runtime/io/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

namespace fs = std::filesystem;
using testing::bytes_of_file;
using testing::expect_error;
using testing::ScratchFolder;

TEST(ReadFile, ReadsAtAnOffset) {
  const ScratchFolder folder;
  const ReadFile file(folder.write("f", "0123456789"));
  std::array<char, 4> text;
  file.read(3, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(std::string_view(text.data(), text.size()), "3456");
  EXPECT_EQ(file.size(), 10u);
}

TEST(ReadFile, RefusesToReadPastTheEnd) {
  const ScratchFolder folder;
  const ReadFile file(folder.write("f", "0123456789"));
  std::array<std::byte, 4> out;
  for (const uint64_t offset : {uint64_t{7}, uint64_t{11}, UINT64_MAX, UINT64_MAX - 2}) {
    expect_error([&] { file.read(offset, out); }, file.path(), "4 bytes wanted");
  }
}

TEST(ReadFile, NoticesThatTheFileBecameShorter) {
  const ScratchFolder folder;
  const std::string path = folder.write("f", "0123456789");
  const ReadFile file(path);
  fs::resize_file(path, 5);
  std::array<std::byte, 10> out;
  expect_error([&] { file.read(0, out); }, path, "shorter");
}

TEST(ReadFile, OpensRegularFilesOnly) {
  const ScratchFolder folder;
  fs::create_directory(folder.file("d"));
  fs::create_directory_symlink(folder.file("d"), folder.file("link"));
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  fs::create_symlink(folder.file("nowhere"), folder.file("dangling"));
  expect_error([&] { ReadFile file(folder.file("missing")); }, "missing", "No such file");
  expect_error([&] { ReadFile file(folder.file("dangling")); }, "dangling", "No such file");
  expect_error([&] { ReadFile file(folder.file("d")); }, "not a regular file");
  expect_error([&] { ReadFile file(folder.file("link")); }, "not a regular file");
  expect_error([&] { ReadFile file(folder.file("pipe")); }, "not a regular file");  // no hang
  expect_error([&] { ReadFile file("/dev/zero"); }, "not a regular file");
}

TEST(ReadFile, MovesItsHandle) {
  const ScratchFolder folder;
  ReadFile a(folder.write("a", "aaa"));
  ReadFile b(folder.write("b", "bb"));
  a = std::move(b);
  std::array<char, 2> text;
  a.read(0, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text[0], 'b');
  const ReadFile c(std::move(a));
  EXPECT_EQ(c.size(), 2u);
}

TEST(WholeFile, IsBounded) {
  const ScratchFolder folder;
  const std::string path = folder.write("f", "0123456789");
  EXPECT_EQ(read_file(path, 10), "0123456789");
  expect_error([&] { read_file(path, 9); }, path, "10 bytes", "9 allowed");
  EXPECT_EQ(read_file(folder.write("empty", ""), 0), "");
}

TEST(AtomicFile, AppearsOnCommit) {
  const ScratchFolder folder;
  const std::string path = folder.write("f", "old");
  {
    AtomicFile file(path);
    file.write("new");
    file.write(" text");
    EXPECT_EQ(bytes_of_file(path), "old");
    file.commit();
  }
  EXPECT_EQ(bytes_of_file(path), "new text");
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const ScratchFolder folder;
  const std::string path = folder.write("f", "old");
  { AtomicFile(path).write("new"); }
  EXPECT_EQ(bytes_of_file(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, DoesNotWriteThroughAPlantedLink) {
  const ScratchFolder folder;
  const std::string victim = folder.write("victim", "precious");
  fs::create_symlink(victim, folder.file("f.tmp"));
  fs::create_symlink(victim, folder.file("f"));
  AtomicFile file(folder.file("f"));
  file.write("new");
  file.commit();
  EXPECT_EQ(bytes_of_file(victim), "precious");
  EXPECT_EQ(bytes_of_file(folder.file("f")), "new");
  EXPECT_FALSE(fs::is_symlink(folder.file("f")));
}

TEST(ReplaceFolder, LeavesTheNewOneAlone) {
  const ScratchFolder folder;
  const auto make = [&](const char* name, const char* file) {
    std::filesystem::create_directory(folder.file(name));
    folder.write(std::string(name) + "/" + file, "");
    return folder.file(name);
  };
  const std::string to = folder.file("to");
  replace_folder(make("from", "first"), to);
  EXPECT_TRUE(std::filesystem::exists(to + "/first"));
  replace_folder(make("from", "second"), to);
  EXPECT_TRUE(std::filesystem::exists(to + "/second"));
  EXPECT_FALSE(std::filesystem::exists(to + "/first"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("from")));
  expect_error([&] { replace_folder(folder.file("none"), folder.file("to2")); }, "none");
}

TEST(AtomicFile, NamesThePathItCannotWrite) {
  const ScratchFolder folder;
  expect_error([&] { AtomicFile file(folder.file("no/such/folder")); }, "no/such/folder",
               "No such file");
}

TEST(AtomicFile, TakesNoNameFromAFolderOrADevice) {
  const ScratchFolder folder;
  fs::create_directory(folder.file("target"));
  fs::create_directory_symlink(folder.file("target"), folder.file("link"));
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  fs::create_symlink("/dev/null", folder.file("device"));
  for (const char* name : {"target", "link"}) {
    expect_error([&] { AtomicFile(folder.file(name)).commit(); }, name, "it is a folder");
  }
  for (const char* name : {"pipe", "device"}) {
    expect_error([&] { AtomicFile(folder.file(name)).commit(); }, name, "it is special");
  }
  EXPECT_TRUE(fs::is_directory(folder.file("target")));
  EXPECT_TRUE(fs::is_symlink(folder.file("link")) && fs::is_symlink(folder.file("device")));
  EXPECT_TRUE(fs::is_fifo(folder.file("pipe")));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 4);  // no temporary file
}

}  // namespace
}  // namespace tessera::io
