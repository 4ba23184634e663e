// What a run does with its plan: it chooses by memory_budget, writes down what it chose, computes
// the same bits with any of it, and refuses before anything is loaded what cannot fit.
#include "launch/run/run_plan.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launch/run/train.h"
#include "parallel/thread_communicator.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"

namespace tessera::launch {
namespace {

class RunPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_random_model(folder_, {.layers = 8});
    const std::string rows = testing::write_random_rows(folder_, 8, 120, 128, 256);
    folder_.write("run.yml", "base_model: " + folder_.path() + "\ndatasets: [{path: " + rows +
                                 ", type: tokenized}]\nsequence_len: 128\nglobal_batch_size: 4\n" +
                                 "sample_packing: false\nmax_steps: 2\nthreads: 1\n");
  }
  Config config(const std::string& out, std::vector<std::string> overrides) {
    overrides.push_back("output_dir=" + folder_.file(out));
    return load_config(folder_.file("run.yml"), overrides);
  }
  /// The settings that the run wrote down.
  Config run(const std::string& out, int ranks, const std::vector<std::string>& overrides) {
    const Config given = config(out, overrides);
    parallel::run_ranks(ranks, [&](parallel::Communicator& world) { train(given, world); });
    return load_config(folder_.file(out + "/config.resolved.yml"), {});
  }
  std::string adapter(const std::string& out) {
    return testing::bytes_of_file(folder_.file(out + "/adapter_model.safetensors"));
  }

  testing::ScratchFolder folder_;
};

TEST_F(RunPlanTest, TheBudgetDecidesAndTheBitsStay) {
  const Config free = run("free", 1, {});
  EXPECT_EQ(free.gradient_checkpointing, parallel::Policy::kKeep);
  EXPECT_EQ(free.sharding, std::nullopt);
  const Config some = run("some", 1, {"memory_budget=5500KiB"});
  EXPECT_EQ(some.gradient_checkpointing, parallel::Policy::kRecompute);
  EXPECT_GT(some.gradient_checkpointing_kept_layers, 0);
  const Config little = run("little", 1, {"memory_budget=4700KiB"});
  EXPECT_EQ(little.gradient_checkpointing, parallel::Policy::kRecompute);
  EXPECT_LT(little.gradient_checkpointing_kept_layers, some.gradient_checkpointing_kept_layers);
  const Config two = run("two", 2, {"memory_budget=5500KiB"});
  EXPECT_EQ(two.sharding, parallel::Sharding::Mode::kHost);  // nothing moves, and there is one copy
  for (const char* out : {"some", "little", "two"}) {
    EXPECT_TRUE(adapter(out) == adapter("free")) << out;
  }
}

TEST_F(RunPlanTest, RefusesBeforeItLoads) {
  // A weight is not a number: loading would be another error.
  {
    std::fstream file(folder_.file("model.safetensors"), std::ios::in | std::ios::out);
    file.seekp(-4, std::ios::end);
    file.write("\xff\xff\xff\xff", 4);
  }
  testing::expect_error([&] { run("out", 2, {}); }, "is damaged");
  testing::expect_error([&] { run("out", 2, {"memory_budget=4300KiB"}); },
                        "memory: the smallest plan needs 4.5 MiB a rank, but memory_budget is 4.2 ",
                        "ranks on nodes of their own would fit");
}

}  // namespace
}  // namespace tessera::launch
