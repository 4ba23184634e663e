// Training on many ranks: the same bytes as on one, whatever is sharded, recomputed or exchanged.
// Ranks are threads here; under mpirun see mpi_training_test.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "launch/config/config.h"
#include "launch/run/optimizer_parts.h"
#include "launch/run/train.h"
#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"
#include "tests/sample.h"
#include "tests/sanitized.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

class Ranks : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_random_model(folder_, {});
    const std::string rows = testing::write_random_rows(folder_, 19, 8, 40, 256);
    folder_.write("config.yml", testing::random_run(folder_, rows) +
                                    "val_set_size: 3\neval_steps: 2\nsave_steps: 2\n");
  }

  Config config(std::vector<std::string> overrides, const std::string& out) {
    overrides.push_back("output_dir=" + folder_.file(out));
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
      metrics.erase("gather_wait");
      all.push_back(metrics.dump());
    }
    return all;
  }

  testing::ScratchFolder folder_;
};

/// One value of each axis, as an index.
using Combination = std::vector<size_t>;

struct Axis {
  const char* name;
  std::vector<std::string> values;
};
// Ranks, ranks per node and overrides of the config; ";" separates several.
const std::vector<Axis> kAxes = {
    {"ranks", {"1", "2", "3", "4", "8"}},
    {"per node", {"8", "1", "2"}},
    {"sharding",
     {"sharding=auto", "sharding=replicate", "sharding=full", "sharding=hybrid", "sharding=host"}},
    {"policy",
     {"gradient_checkpointing=false", "gradient_checkpointing=true",
      "gradient_checkpointing=offload",
      "gradient_checkpointing=offload;gradient_checkpointing_layers=2",
      "gradient_checkpointing=true;gradient_checkpointing_layers=4"}},
    {"optimizer",
     {"optimizer=adamw", "optimizer=paged_adamw;optimizer_page_budget=0B",
      "optimizer=paged_adamw;optimizer_page_budget=2MiB",
      "optimizer=paged_adamw;optimizer_page_budget=0B;optimizer_page_dir=DIR"}},
    {"state", {"optimizer_sharding=false", "optimizer_sharding=true"}},
    {"threads", {"threads=1", "threads=2"}},
    {"packing", {"sample_packing=false", "sample_packing=true"}},
};

/// Of many random candidates, the one with most new pairs of values of two axes is taken each time,
/// until there are `count`, and, where asked for, until every pair has occurred.
std::vector<Combination> combinations_of(uint32_t seed, size_t count, bool every_pair) {
  std::set<std::array<size_t, 4>> missing;
  for (size_t a = 0; a < kAxes.size(); ++a) {
    for (size_t b = a + 1; b < kAxes.size(); ++b) {
      for (size_t x = 0; x < kAxes[a].values.size(); ++x) {
        for (size_t y = 0; y < kAxes[b].values.size(); ++y) missing.insert({a, x, b, y});
      }
    }
  }
  const auto each_pair = [](const Combination& c, auto&& visit) {
    for (size_t a = 0; a < c.size(); ++a) {
      for (size_t b = a + 1; b < c.size(); ++b) visit(std::array{a, c[a], b, c[b]});
    }
  };
  testing::RandomNumbers random(seed);
  std::vector<Combination> chosen;
  while ((every_pair && !missing.empty()) || chosen.size() < count) {
    Combination best;
    size_t most = 0;
    for (int candidate = 0; candidate < 200; ++candidate) {
      Combination c;
      for (const Axis& axis : kAxes) c.push_back(random.bits() % axis.values.size());
      size_t news = 0;
      each_pair(c, [&](const auto& pair) { news += missing.count(pair); });
      if (best.empty() || news > most) {
        best = c;
        most = news;
      }
    }
    each_pair(best, [&](const auto& pair) { missing.erase(pair); });
    chosen.push_back(best);
  }
  return chosen;
}

TEST_F(Ranks, TheMatrixOfSettingsHasOneResult) {
  // A sanitizer looks at memory and threads, not at results: a few show it all of them.
  const bool every_pair = testing::takes_all() || !testing::kSanitized;
  const size_t count = testing::takes_all() ? 64 : every_pair ? 0 : 8;
  const auto combinations = combinations_of(testing::sample_seed(), count, every_pair);
  std::map<std::string, std::vector<std::string>> expected;  // by the packing, which is data
  for (const std::string& packing : kAxes.back().values) {
    run(1, 1, {packing, "threads=1"}, packing);
    expected[packing] = results(packing);
  }
  EXPECT_NE(expected.begin()->second, expected.rbegin()->second);
  int trial = 0;
  for (const Combination& c : combinations) {
    std::vector<std::string> how;
    for (size_t axis = 2; axis < c.size(); ++axis) {
      std::stringstream several(kAxes[axis].values[c[axis]]);
      for (std::string one; std::getline(several, one, ';');) {
        how.push_back(one == "optimizer_page_dir=DIR" ? "optimizer_page_dir=" + folder_.path()
                                                      : one);
      }
    }
    const int ranks = std::stoi(kAxes[0].values[c[0]]);
    const int per_node = std::stoi(kAxes[1].values[c[1]]);
    const std::string out = fmt::format("combination{}", trial++);
    run(ranks, per_node, how, out);
    EXPECT_EQ(results(out), expected[kAxes.back().values[c.back()]])
        << ranks << " ranks, " << per_node << " a node, " << fmt::format("{}", fmt::join(how, " "));
    std::filesystem::remove_all(folder_.file(out));
  }
  fmt::print("{} combinations\n", combinations.size());
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
  const auto changes =
      testing::unless_sanitized<std::pair<int, int>>({{4, 1}, {4, 3}, {2, 8}, {1, 2}, {3, 2}}, 1);
  for (const std::string optimizer : {"optimizer=adamw", "optimizer=adamw_8bit"}) {
    run(1, 1, {optimizer, "lora_r=64", "overwrite_output_dir=true"}, "straight");
    const auto expected = results("straight");
    for (const auto& [before, after] : changes) {
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

/// Noise on the embedding, smoothed targets, two learning rates, and a schedule with arguments.
TEST_F(Ranks, WhatChangesTheNumbersOfAStepDoesSoAlikeOnAnyRanksAndAfterAResume) {
  const std::vector<std::string> settings = {
      "neftune_noise_alpha=5",
      "label_smoothing_factor=0.1",
      "loraplus_lr_ratio=16",
      "lr_scheduler_kwargs={num_decay_steps: 2, min_lr_ratio: 0.1}",
      "lr_scheduler=warmup_stable_decay",
      "optimizer=adamw_8bit",
      "lora_r=64"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = settings;
    for (const std::string& other : more) {
      const std::string key = other.substr(0, other.find('=') + 1);
      std::erase_if(all, [&](const std::string& setting) { return setting.starts_with(key); });
      all.push_back(other);
    }
    return all;
  };
  run(1, 1, settings, "one");
  const auto expected = results("one");
  run(3, 2,
      with({"optimizer_sharding=true", "sharding=full", "gradient_checkpointing=true",
            "optimizer=paged_adamw_8bit", "optimizer_page_budget=0B"}),
      "three");
  EXPECT_EQ(results("three"), expected);
  std::filesystem::remove_all(folder_.file("three/checkpoint-4"));
  std::filesystem::remove(folder_.file("three/adapter_model.safetensors"));
  run(2, 2, with({"optimizer_sharding=true", "resume_from_checkpoint=auto"}), "three");
  EXPECT_EQ(results("three"), expected);
  // Each has an effect of its own.
  for (const std::string other :
       {"neftune_noise_alpha=0", "label_smoothing_factor=0", "loraplus_lr_ratio=1",
        "lr_scheduler_kwargs={num_decay_steps: 2, min_lr_ratio: 0.2}"}) {
    const std::string out = other.substr(0, other.find('='));
    run(1, 1, with({other}), out);
    EXPECT_NE(results(out), expected) << other;
  }
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
