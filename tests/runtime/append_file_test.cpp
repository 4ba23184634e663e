// Files that grow by whole pieces: whose file is opened, and what a full disk leaves of it.
#include "runtime/io/append_file.h"

#include <sys/resource.h>

#include <csignal>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using testing::bytes_of_file;

TEST(AppendFile, GoesOnBehindWhatIsThere) {
  const testing::ScratchFolder folder;
  const std::string path = folder.write("file", "one\n");
  {
    AppendFile file(path);
    EXPECT_EQ(file.path(), path);
    EXPECT_TRUE(file.append("two\n"));
    EXPECT_EQ(bytes_of_file(path), "one\ntwo\n");  // at once
    AppendFile moved = std::move(file);
    EXPECT_TRUE(moved.append(std::string("3\0", 2)));
  }
  EXPECT_EQ(bytes_of_file(path), std::string("one\ntwo\n3\0", 10));
}

TEST(AppendFile, MakesNoFileWhereThereIsOne) {
  const testing::ScratchFolder folder;
  const std::string path = folder.file("file");
  std::optional<AppendFile> made = AppendFile::make(path);
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->append("one"));
  EXPECT_FALSE(AppendFile::make(path));
  EXPECT_EQ(bytes_of_file(path), "one");
  std::filesystem::create_symlink("nothing", folder.file("link"));
  EXPECT_FALSE(AppendFile::make(folder.file("link")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("nothing")));
}

TEST(AppendFile, WhatCannotBeOpenedIsAnError) {
  const testing::ScratchFolder folder;
  for (const std::string& path : {folder.file("none"), folder.path()}) {
    testing::expect_error([&] { AppendFile file(path); }, "cannot write " + path + ": ");
  }
  const std::string path = folder.file("none/file");
  testing::expect_error([&] { AppendFile::make(path); }, "cannot write " + path + ": ");
  EXPECT_FALSE(std::filesystem::exists(folder.file("none")));
}

TEST(AppendFile, HalfAPieceIsTakenBack) {
  const testing::ScratchFolder folder;
  const std::string path = folder.write("file", "one\n");
  AppendFile file(path);
  // A write past the limit is cut short like one on a disk that fills.
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{10, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const bool written = file.append("far too long\n");
  const bool shorter = file.append("two\n");
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_FALSE(written);
  EXPECT_TRUE(shorter);
  EXPECT_EQ(bytes_of_file(path), "one\ntwo\n");
}

}  // namespace
}  // namespace tessera::io
