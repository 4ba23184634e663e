// A lock has one holder at a time, and none once that is gone.
#include "runtime/io/lock_file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

using State = LockFile::State;

class Lock : public ::testing::Test {
 protected:
  State try_it() { return LockFile(path_).state(); }

  testing::ScratchFolder folder_;
  std::string path_ = folder_.file("run.lock");
};

TEST_F(Lock, HasOneHolder) {
  {
    const LockFile first(path_);
    EXPECT_EQ(first.state(), State::kHeld);
    first.write_holder("a longer text");
    first.write_holder("me\n");
    const LockFile second(path_);
    EXPECT_EQ(second.state(), State::kTaken);
    EXPECT_EQ(second.holder(), "me");
    EXPECT_EQ(try_it(), State::kTaken);  // whoever fails takes nothing away
  }
  EXPECT_EQ(try_it(), State::kHeld);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

/// A child that runs `work` and then waits to be killed.
class Child {
 public:
  template <class Work>
  explicit Child(Work work) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("cannot make a pipe");
    process_ = ::fork();
    if (process_ == 0) {
      work();
      [[maybe_unused]] const ssize_t told = ::write(ends[1], "x", 1);
      for (;;) ::pause();
    }
    char ready = 0;
    EXPECT_EQ(::read(ends[0], &ready, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Child() { kill(); }
  void kill() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

 private:
  pid_t process_ = -1;
};

TEST_F(Lock, DiesWithItsHolder) {
  Child child([&] { static const LockFile lock(path_); });
  EXPECT_EQ(try_it(), State::kTaken);
  child.kill();
  EXPECT_EQ(try_it(), State::kHeld);
}

TEST_F(Lock, IsGivenUpThoughAChildHasTheFileOpen) {
  auto lock = std::make_unique<LockFile>(path_);
  const Child child([] {});
  EXPECT_EQ(try_it(), State::kTaken);
  lock.reset();
  EXPECT_EQ(try_it(), State::kHeld);
}

TEST_F(Lock, IsNotPassedOnByExec) {
  const LockFile lock(path_);
  // The shell lists what it has open.
  const std::string command = "ls -l /proc/self/fd | grep -q " + path_;
  EXPECT_NE(std::system(command.c_str()), 0);
}

TEST_F(Lock, NeverHangsOrFollowsALink) {
  std::filesystem::create_symlink("elsewhere", path_);
  testing::expect_error([&] { try_it(); }, path_);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("elsewhere")));
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  try_it();
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  testing::expect_error([&] { try_it(); }, path_);
}

TEST_F(Lock, WhatTheHolderLeavesIsShownAsOneLine) {
  folder_.write("run.lock", "evil\nline\x1b[31m" + std::string(1000, 'x'));
  const std::string holder = LockFile(path_).holder();
  EXPECT_LT(holder.size(), 200u);
  EXPECT_TRUE(holder.starts_with("evil?line?[31m")) << holder;
}

}  // namespace
}  // namespace tessera::io
