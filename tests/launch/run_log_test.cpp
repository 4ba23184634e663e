// What a run tells: the file that a full disk has no room for.
#include "launch/run/run_log.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

class LogOfARun : public ::testing::Test {
 protected:
  LogOfARun() {
    config_.output_dir = folder_.file("out");
    config_.report_to = ReportTo::kTensorBoard;
    config_.logging_dir = folder_.file("board");
    config_.sample_prompts = {"Hi"};
    config_.logging_steps = 100;
    fs::create_directory(config_.output_dir);
    log_.begin(0, 100, true);
    // What is printed goes to a file, too, and has to be shorter than the others.
    for (int64_t number = 1; number <= 16; ++number) step(number);
  }
  std::string file(const std::string& name) const { return config_.output_dir + "/" + name; }
  std::string event_file() const {
    return fs::directory_iterator(*config_.logging_dir)->path().string();
  }
  void step(int64_t number) {
    StepMetrics metrics{};
    metrics.step = number;
    log_.step(metrics);
  }
  /// The warning of `work` while no file may have more than `bytes`.
  template <class Work>
  std::string warning(size_t bytes, Work work) {
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlimit small{bytes, limit.rlim_max};
    ::testing::internal::CaptureStderr();  // in a file
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    work();
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, before);
    const std::string all = ::testing::internal::GetCapturedStderr();
    const size_t at = all.find("warning: ");
    return at == all.npos ? "" : all.substr(at, all.find('\n', at) - at);
  }
  static std::string lost(const std::string& path) {
    return "warning: " + path + " cannot be written; its lines are lost until there is room again";
  }

  testing::ScratchFolder folder_;
  Config config_;
  Console console_;
  RunLog log_{config_, console_};
};

TEST_F(LogOfARun, NamesTheMetricsThatAreLostOnce) {
  const size_t size = fs::file_size(file("metrics.jsonl"));
  EXPECT_EQ(warning(size + 10, [&] { step(17); }), lost(file("metrics.jsonl")));
  EXPECT_EQ(fs::file_size(file("metrics.jsonl")), size);
  EXPECT_EQ(warning(size + 10, [&] { step(18); }), "");
}

TEST_F(LogOfARun, NamesTheSamplesThatAreLost) {
  const std::string text(9000, 'x');
  EXPECT_EQ(warning(8000, [&] { log_.sample(16, "Hi", text); }), lost(file("samples.jsonl")));
}

TEST_F(LogOfARun, NamesTheEventFileThatIsLost) {
  const size_t size = fs::file_size(event_file());
  ASSERT_GT(size, fs::file_size(file("metrics.jsonl")) + 500) << "the event file has to fill first";
  EXPECT_EQ(warning(size + 10, [&] { step(17); }), lost(event_file()));
}

}  // namespace
}  // namespace tessera::launch
