// Event files: byte for byte as tensorboard's own writer has them (tests/golden/tensorboard), what
// a resumed run leaves of older ones, and a full disk.
#include "launch/report/tensorboard.h"

#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "runtime/io/folder.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using testing::bytes_of_file;

/// One second per event, from the golden's first on; the file's name takes the first look.
WallClock ticking() {
  return [looks = 0]() mutable { return 1'700'000'000.25 + std::max(0, looks++ - 1); };
}

std::string golden(const std::string& name) {
  return bytes_of_file(std::string(TESSERA_GOLDEN_DIR) + "/tensorboard/" + name);
}

/// The calls of make_tensorboard_golden.py. Gives the file's path.
std::string write_first(const std::string& folder) {
  TensorBoardFile file(folder, 0, ticking());
  EXPECT_TRUE(file.scalar("eval/loss", 0, 3.5));
  EXPECT_TRUE(file.scalar("train/loss", 1, 2.25));
  EXPECT_TRUE(file.scalar("train/learning_rate", 1, 1e-4));
  EXPECT_TRUE(file.scalar("train/loss", 2, 1.1));
  EXPECT_TRUE(file.scalar("train/loss", 3, 0.7));
  EXPECT_TRUE(file.scalar("train/grad_norm", 3, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_TRUE(file.text("samples/0", 300, "**Zwölf** 🥐\n" + std::string(300, 'x')));
  return file.path();
}

std::string write_resumed(const std::string& folder) {
  TensorBoardFile file(folder, 2, ticking());
  EXPECT_TRUE(file.scalar("train/loss", 3, 0.75));
  EXPECT_TRUE(file.scalar("train/loss", 1'000'000'000, 0));
  return file.path();
}

TEST(TensorBoard, WritesTheBytesOfItsOwnWriter) {
  const testing::ScratchFolder folder;
  const std::string first = write_first(folder.file("logs"));
  EXPECT_EQ(bytes_of_file(first), golden("first"));
  const std::string resumed = write_resumed(folder.file("logs"));
  EXPECT_EQ(bytes_of_file(resumed), golden("resumed"));
  EXPECT_EQ(bytes_of_file(first), golden("first"));
  // tensorboard reads the files in the order of their names.
  EXPECT_LT(first, resumed);
}

TEST(TensorBoard, ARunFromTheStartRemovesOlderEvents) {
  const testing::ScratchFolder folder;
  write_first(folder.path());
  write_resumed(folder.path());
  folder.write("metrics.jsonl", "kept");
  write_first(folder.path());
  const std::vector<std::string> names = io::names_in(folder.path());
  ASSERT_EQ(names.size(), 2u);
  EXPECT_TRUE(names[0].starts_with("events.out.tfevents.1700000000."));
  EXPECT_EQ(names[1], "metrics.jsonl");
}

TEST(TensorBoard, AHalfWrittenEventIsTakenBack) {
  const testing::ScratchFolder folder;
  TensorBoardFile file(folder.path(), 0, ticking());
  EXPECT_TRUE(file.scalar("eval/loss", 0, 3.5));
  // A write past the limit is cut short like one on a disk that fills.
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string whole = bytes_of_file(file.path());
  const rlimit small{whole.size() + 10, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const bool written = file.scalar("train/loss", 1, 2.25);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_FALSE(written);
  EXPECT_EQ(bytes_of_file(file.path()), whole);
  EXPECT_TRUE(file.scalar("train/loss", 2, 1.1));
  EXPECT_GT(bytes_of_file(file.path()).size(), whole.size());
}

TEST(TensorBoard, AFolderThatCannotBeMadeIsAnError) {
  const testing::ScratchFolder folder;
  folder.write("file", "");
  testing::expect_error([&] { const TensorBoardFile file(folder.file("file/logs"), 0); }, "file");
}

}  // namespace
}  // namespace tessera::launch
