// Training on many ranks: the same bytes as on one, whatever is sharded, recomputed or exchanged.
// Ranks are threads here; under mpirun see mpi_training_test.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/config.h"
#include "launch/train.h"
#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";

class Ranks : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("tessera-ranks-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    std::ofstream(dir_ / "config.yml") << "base_model: " << kTiny << R"(
datasets:
  - path: )" << kTiny << R"(/data.jsonl
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
)";
  }
  void TearDown() override { fs::remove_all(dir_); }

  Config config(std::vector<std::string> overrides, const std::string& out) {
    overrides.push_back("output_dir=" + (dir_ / out).string());
    overrides.push_back("threads=1");
    return load_config((dir_ / "config.yml").string(), overrides);
  }
  void run(int ranks, int per_node, const std::vector<std::string>& overrides,
           const std::string& out) {
    const Config c = config(overrides, out);
    parallel::run_ranks(ranks, per_node, [&](parallel::Communicator& world) {
      EXPECT_EQ(train(c, world), kFinished);
    });
  }
  std::string bytes_of(const fs::path& path) {
    std::ifstream file(dir_ / path, std::ios::binary);
    EXPECT_TRUE(file) << path;
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// What must not depend on the ranks: adapter, moments, and every line of the metrics but its
  /// speed and memory.
  std::vector<std::string> results(const std::string& out) {
    std::vector<std::string> all = {bytes_of(out + "/adapter_model.safetensors"),
                                    bytes_of(out + "/checkpoint-4/optimizer.safetensors")};
    std::ifstream file(dir_ / out / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      json metrics = json::parse(line);
      metrics.erase("tokens_per_second");
      metrics.erase("memory");
      all.push_back(metrics.dump());
    }
    return all;
  }

  fs::path dir_;
};

TEST_F(Ranks, SameBytesOnAnyNumberOfRanks) {
  run(1, 1, {}, "one");
  const auto expected = results("one");
  EXPECT_EQ(expected.size(), 2u + 4 + 2);
  int trial = 0;
  const auto expect_same = [&](int ranks, int per_node, const std::vector<std::string>& how) {
    const std::string out = fmt::format("trial{}", trial++);
    run(ranks, per_node, how, out);
    EXPECT_EQ(results(out), expected) << ranks << " ranks, " << per_node << " a node: "
                                      << fmt::format("{}", fmt::join(how, " "));
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
