// metrics.jsonl: what a resumed run keeps of it, and what a full disk leaves of it.
#include "launch/run/metrics.h"

#include <sys/resource.h>

#include <csignal>

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

StepMetrics step(int64_t number) {
  StepMetrics metrics{};
  metrics.step = number;
  metrics.loss = 1.0 / double(number);
  return metrics;
}

std::vector<int64_t> steps_in(const std::string& path) {
  std::vector<int64_t> steps;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    steps.push_back(entry.is_object() ? entry["step"].get<int64_t>() : -1);
  }
  return steps;
}

TEST(Metrics, KeepsTheStepsUpToTheResumedOne) {
  const testing::ScratchFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  {
    MetricsFile file(path, 0);
    for (int64_t number : {1, 2, 3}) file.write(step(number));
    file.write_evaluation(2, "", 0.5, 10);
    file.write_evaluation(2, "test", 0.5, 10);
    file.write_evaluation(3, "", 0.4, 10);
  }
  MetricsFile file(path, 2);
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 2, 2}));
  EXPECT_TRUE(file.evaluated(2, ""));
  EXPECT_TRUE(file.evaluated(2, "test"));
  EXPECT_FALSE(file.evaluated(2, "other"));
  EXPECT_FALSE(file.evaluated(3, ""));
  file.write_evaluation(3, "", 0.4, 10);
  EXPECT_TRUE(file.evaluated(3, ""));
  const MetricsFile afresh(path, 0);
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{}));
}

TEST(Metrics, AHalfWrittenLineIsTakenBack) {
  const testing::ScratchFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  MetricsFile file(path, 0);
  EXPECT_TRUE(file.write(step(1)));
  // A write past the limit is cut short like one on a disk that fills.
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{std::filesystem::file_size(path) + 10, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const bool second = file.write(step(2));
  const size_t size = std::filesystem::file_size(path);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_FALSE(second);
  EXPECT_EQ(size, small.rlim_cur - 10);
  EXPECT_TRUE(file.write(step(3)));
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 3}));
}

TEST(Metrics, WhatCannotBeReadIsNotReplaced) {
  const testing::ScratchFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  std::filesystem::create_symlink("metrics.jsonl", path);
  testing::expect_error([&] { const MetricsFile file(path, 2); }, path);
  EXPECT_TRUE(std::filesystem::is_symlink(path));
}

}  // namespace
}  // namespace tessera::launch
