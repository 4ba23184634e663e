// Training on many ranks: the same bytes as on one, whatever is sharded, recomputed or exchanged.
// Ranks are threads here; under mpirun see mpi_training_test.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/config.h"
#include "launch/train.h"
#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

class Ranks : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_random_model(folder_, {});
    const std::string rows = testing::write_random_rows(folder_, 19, 8, 40, 256);
    folder_.write("config.yml", "base_model: " + folder_.path() + R"(
datasets:
  - path: )" + rows + R"(
    type: tokenized
sequence_len: 64
micro_batch_size: 1
global_batch_size: 5
sample_packing: false
max_steps: 4
learning_rate: 1e-3
lora_dropout: 0.1
val_set_size: 3
eval_steps: 2
save_steps: 2
)");
  }

  Config config(std::vector<std::string> overrides, const std::string& out) {
    overrides.push_back("output_dir=" + folder_.file(out));
    overrides.push_back("threads=1");
    return load_config(folder_.file("config.yml"), overrides);
  }
  void run(int ranks, int per_node, const std::vector<std::string>& overrides,
           const std::string& out) {
    const Config c = config(overrides, out);
    parallel::run_ranks(ranks, per_node, [&](parallel::Communicator& world) {
      EXPECT_EQ(train(c, world), kFinished);
    });
  }
  /// What must not depend on the ranks: adapter, moments, and every line of the metrics but its
  /// speed and memory.
  std::vector<std::string> results(const std::string& out) {
    std::vector<std::string> all = {
        testing::bytes_of_file(folder_.file(out + "/adapter_model.safetensors")),
        testing::bytes_of_file(folder_.file(out + "/checkpoint-4/optimizer.safetensors"))};
    std::ifstream file(folder_.file(out + "/metrics.jsonl"));
    for (std::string line; std::getline(file, line);) {
      json metrics = json::parse(line);
      metrics.erase("tokens_per_second");
      metrics.erase("memory");
      all.push_back(metrics.dump());
    }
    return all;
  }

  testing::ScratchFolder folder_;
};

TEST_F(Ranks, SameBytesOnAnyNumberOfRanks) {
  run(1, 1, {}, "one");
  const auto expected = results("one");
  EXPECT_EQ(expected.size(), 2u + 4 + 2);
  int trial = 0;
  const auto expect_same = [&](int ranks, int per_node, const std::vector<std::string>& how) {
    const std::string out = fmt::format("trial{}", trial++);
    run(ranks, per_node, how, out);
    EXPECT_EQ(results(out), expected)
        << ranks << " ranks, " << per_node << " a node: " << fmt::format("{}", fmt::join(how, " "));
  };
  expect_same(2, 2, {});
  expect_same(3, 3, {"sharding=replicate"});
  expect_same(4, 4, {"gradient_checkpointing=true"});
  expect_same(4, 1, {"sharding=full"});  // no memory is shared: gathers are collective
  expect_same(4, 2, {"sharding=hybrid", "gradient_checkpointing=offload"});
  expect_same(4, 4, {"sharding=hybrid", "sharding_group=2"});
  expect_same(3, 2, {"sharding=host"});
  expect_same(8, 3, {"gradient_checkpointing=offload", "gradient_checkpointing_layers=2"});
  expect_same(1, 1, {"gradient_checkpointing=offload"});
}

TEST_F(Ranks, AllFailWithTheMessageOfTheOneThatDoes) {
  // A prime number of rows that no group of two divides.
  const Config c = config({"sharding=hybrid", "sharding_group=2"}, "out");
  EXPECT_NE(testing::error_of([&] {
              parallel::run_ranks(3, [&](parallel::Communicator& world) { train(c, world); });
            }).find("3 ranks cannot be dealt into groups of 2"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::launch
