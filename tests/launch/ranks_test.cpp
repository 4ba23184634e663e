// Training on many ranks: the same bytes as on one, whatever is sharded, recomputed or exchanged.
// Ranks are threads here; under mpirun see mpi_training_test.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/config.h"
#include "launch/optimizer_parts.h"
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
  /// The optimizer's arrays, put together from the parts that the ranks wrote.
  std::map<std::string, std::string> optimizer_of(const std::string& out) {
    std::set<std::string> parts;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.file(out))) {
      if (is_optimizer_part(entry.path().filename().string())) parts.insert(entry.path().string());
    }
    std::map<std::string, std::string> arrays;
    for (const std::string& part : parts) {
      const io::SafetensorsFile file(part);
      for (const io::SafetensorsEntry& entry : file.entries()) {
        std::string bytes(entry.bytes, '\0');
        file.read(entry, std::as_writable_bytes(std::span(bytes)));
        arrays[entry.name] += bytes;
      }
    }
    return arrays;
  }
  /// What must not depend on the ranks: adapter, moments, and every line of the metrics but its
  /// speed and memory.
  std::vector<std::string> results(const std::string& out, const std::string& last = "4") {
    std::vector<std::string> all = {
        testing::bytes_of_file(folder_.file(out + "/adapter_model.safetensors"))};
    for (const auto& [name, bytes] : optimizer_of(out + "/checkpoint-" + last)) {
      all.push_back(name + bytes);
    }
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
  EXPECT_EQ(expected.size(), 1u + 2 + 4 + 2);
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
  expect_same(1, 1, {"optimizer=paged_adamw_32bit", "optimizer_page_budget=1MiB"});
  expect_same(4, 4, {"optimizer_sharding=true"});
  expect_same(3, 1,
              {"optimizer_sharding=true", "optimizer=paged_adamw", "optimizer_page_budget=0B",
               "optimizer_page_dir=" + folder_.path()});
}

TEST_F(Ranks, EightBitStateIsTheSameOnAnyNumberOfRanks) {
  run(1, 1, {"optimizer=adamw_8bit", "lora_r=64"}, "one");
  const auto expected = results("one");
  EXPECT_EQ(expected.size(), 1u + 6 + 4 + 2);  // tensors under 4,096 elements have 32 bits
  run(4, 4, {"optimizer=adamw_8bit", "lora_r=64", "optimizer_sharding=true"}, "four");
  EXPECT_EQ(results("four"), expected);
  run(2, 2, {"optimizer=paged_adamw_8bit", "lora_r=64", "optimizer_page_budget=0B"}, "two");
  EXPECT_EQ(results("two"), expected);
}

TEST_F(Ranks, ACheckpointContinuesOnAnyOtherNumberOfRanks) {
  for (const std::string optimizer : {"optimizer=adamw", "optimizer=adamw_8bit"}) {
    run(1, 1, {optimizer, "lora_r=64", "overwrite_output_dir=true"}, "straight");
    const auto expected = results("straight");
    for (const auto& [before, after] : {std::pair(4, 1), {4, 3}, {2, 8}, {1, 2}, {3, 2}}) {
      const std::string out = fmt::format("{}-{}-{}", optimizer, before, after);
      run(before, before, {optimizer, "lora_r=64", "optimizer_sharding=true"}, out);
      // As if the run had ended after its first checkpoint.
      std::filesystem::remove_all(folder_.file(out + "/checkpoint-4"));
      std::filesystem::remove(folder_.file(out + "/adapter_model.safetensors"));
      const std::string sharded = after % 2 == 0 ? "true" : "false";
      run(after, 2,
          {optimizer, "lora_r=64", "optimizer_sharding=" + sharded, "resume_from_checkpoint=auto"},
          out);
      EXPECT_EQ(results(out), expected) << out;
    }
  }
}

TEST_F(Ranks, TheFastReductionTrainsToo) {
  run(1, 1, {}, "one");
  run(3, 3, {"reduction=fast"}, "fast");
  const auto loss = [&](const std::string& out) {
    std::ifstream file(folder_.file(out + "/metrics.jsonl"));
    std::string line, last;
    while (std::getline(file, line)) last = line;
    return json::parse(last).at("eval_loss").get<double>();
  };
  EXPECT_NEAR(loss("fast"), loss("one"), 1e-5);
}

TEST_F(Ranks, RefuseToRunDifferentThings) {
  const Config a = config({}, "out"), b = config({"learning_rate=2e-3"}, "out");
  testing::expect_error(
      [&] {
        parallel::run_ranks(
            3, [&](parallel::Communicator& world) { train(world.rank() == 1 ? b : a, world); });
      },
      "learning_rate", "0.001 on rank 0", "0.002 on rank 1");
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
