// The plan against the system: what `tessera plan` says a run takes, and the most memory that the
// process of `tessera train` ever had resident. TESSERA_ALL=1 adds a sample of 27 more settings.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/launch/program.h"
#include "tests/random_model.h"
#include "tests/sample.h"
#include "tests/sanitized.h"

namespace tessera::testing {
namespace {

constexpr int64_t kTokens = 512;
constexpr int64_t kMiB = 1 << 20;

/// Runs `tessera train` to its end; its peak of resident memory in bytes.
int64_t peak_of_training(const std::vector<std::string>& settings, const std::string& log) {
  std::vector<std::string> args = {TESSERA_PROGRAM, "train"};
  args.insert(args.end(), settings.begin(), settings.end());
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!std::freopen(log.c_str(), "w", stderr)) ::_exit(126);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  rusage usage{};
  EXPECT_EQ(::wait4(child, &status, 0, &usage), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << bytes_of_file(log);
  return int64_t(usage.ru_maxrss) * 1024;
}

class PlanProcess : public ::testing::Test {
 protected:
  struct Model {
    ScratchFolder folder;
    std::string config;
  };
  static void write(Model& model, const RandomModel& shape) {
    write_random_model(model.folder, shape);
    const std::string rows =
        write_random_rows(model.folder, 4, int(kTokens), int(kTokens), shape.vocab);
    model.config = model.folder.write(
        "run.yml", "base_model: " + model.folder.path() + "\ndatasets: [{path: " + rows +
                       ", type: tokenized}]\noutput_dir: " + model.folder.file("out") +
                       "\noverwrite_output_dir: true\nsample_packing: false\nsequence_len: " +
                       std::to_string(kTokens) +
                       "\nglobal_batch_size: 2\nmax_steps: 2\nthreads: 2\n");
  }
  struct Peaks {
    int64_t planned, measured;
  };
  static Peaks peaks(const Model& model, std::vector<std::string> settings) {
    settings.insert(settings.begin(), model.config);
    std::vector<std::string> args = {"plan", "--json"};
    args.insert(args.end(), settings.begin(), settings.end());
    const Outcome plan = run_program(args);
    EXPECT_EQ(plan.code, 0) << plan.err;
    return {nlohmann::json::parse(plan.out)["peak"],
            peak_of_training(settings, model.folder.file("log"))};
  }
};

TEST_F(PlanProcess, ResidentMemoryIsAsPlanned) {
  if (testing::kSanitized) GTEST_SKIP() << "a sanitizer's memory would be measured";
  Model tiny, model;
  write(tiny, {.layers = 2, .hidden = 32, .ffn = 64, .heads = 2, .kv_heads = 1, .vocab = 256});
  write(model, {.layers = 8, .hidden = 384, .ffn = 1024, .heads = 6, .kv_heads = 3, .vocab = 2048});
  std::vector<std::vector<std::string>> cases = {
      {"adapter=lora", "gradient_checkpointing=false"},
      {"adapter=lora", "gradient_checkpointing=true", "lora_r=64"},
      {"gradient_checkpointing=offload", "gradient_checkpointing_layers=2"},
      {"gradient_checkpointing=false", "lora_r=64", "optimizer=adamw_8bit"},
      {"gradient_checkpointing=true", "lora_r=128", "optimizer=paged_adamw_32bit",
       "optimizer_page_budget=2MiB", "optimizer_page_dir=" + model.folder.path()},
  };
  if (std::getenv("TESSERA_ALL")) {
    std::vector<std::vector<std::string>> more;
    for (const char* policy : {"false", "true", "offload"}) {
      more.push_back({fmt::format("gradient_checkpointing={}", policy), "global_batch_size=7"});
      for (const char* rank : {"8", "32", "96", "192"}) {
        for (const char* base : {"qlora", "lora"}) {
          more.push_back({fmt::format("gradient_checkpointing={}", policy),
                          fmt::format("lora_r={}", rank), fmt::format("adapter={}", base),
                          "micro_batch_size=2"});
        }
      }
    }
    std::mt19937 random(testing::sample_seed());
    std::sample(more.begin(), more.end(), std::back_inserter(cases),
                testing::takes_all() ? more.size() : 9, random);
  }
  const Peaks least = peaks(tiny, {});
  const int64_t program = least.measured - least.planned;
  EXPECT_LT(program, 64 * kMiB);
  fmt::print("\nthe program alone: {} MiB\n{:>8} {:>8} {:>7}  settings\n", program / kMiB,
             "planned", "resident", "off");
  for (const auto& settings : cases) {
    const Peaks p = peaks(model, settings);
    const int64_t planned = p.planned + program;
    fmt::print("{:>8} {:>8} {:>6.1f}%  {}\n", planned / kMiB, p.measured / kMiB,
               100.0 * double(p.measured - planned) / double(planned),
               fmt::format("{}", fmt::join(settings, " ")));
    EXPECT_LE(std::abs(p.measured - planned), std::max(planned / 20, 16 * kMiB))
        << fmt::format("{}", fmt::join(settings, " "));
  }
}

}  // namespace
}  // namespace tessera::testing
