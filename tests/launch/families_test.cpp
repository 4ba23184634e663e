// Every family as users run it: training over NF4, greedy continuation and merging, against
// transformers, PEFT and bitsandbytes (tests/golden/families).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "launch/commands/merged_weights.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "parallel/thread_communicator.h"
#include "tests/family_golden.h"
#include "tests/launch/family_runs.h"
#include "tests/sample.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::FamilyGolden;
using tessera::testing::Folder;
using tessera::testing::ScratchFolder;

class FamilyRuns : public ::testing::TestWithParam<const char*> {
 protected:
  FamilyGolden golden_{GetParam()};
  ScratchFolder scratch_;
};

TEST_P(FamilyRuns, TrainingOverNf4) {
  testing::expect_three_steps(golden_, scratch_.file("run"), {}, "over NF4");
}

TEST_P(FamilyRuns, GreedyContinuationIsThatOfPeft) {
  testing::expect_greedy_continuation(golden_, Device::cpu());
}

TEST_P(FamilyRuns, RanksAndMemoryOptionsKeepTheBits) {
  const auto adapter_of = [&](int ranks, const std::vector<std::string>& options) {
    std::vector<std::string> overrides = {
        "base_model=" + golden_.folder,
        "lora_model_dir=" + golden_.adapter,
        "output_dir=" + scratch_.file("run"),
        "overwrite_output_dir=true",
        fmt::format("global_batch_size={}", golden_.samples.size()),
        fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", golden_.folder)};
    overrides.insert(overrides.end(), options.begin(), options.end());
    const Config config =
        load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml", overrides);
    parallel::run_ranks(ranks, ranks, [&](parallel::Communicator& world) {
      EXPECT_EQ(train(config, world), kFinished);
    });
    return tessera::testing::bytes_of_file(scratch_.file("run/adapter_model.safetensors"));
  };
  const std::string plain = adapter_of(1, {"gradient_checkpointing=false"});
  EXPECT_EQ(adapter_of(1, {"gradient_checkpointing=true", "optimizer=paged_adamw_32bit"}), plain);
  EXPECT_EQ(adapter_of(2, {"sharding=full", "gradient_checkpointing=offload"}), plain);
  EXPECT_EQ(adapter_of(4, {"sharding=full"}), plain);
}

/// A name from the number of the layer on: files and models put other words before it.
std::string inside_layers(const std::string& name) { return name.substr(name.find("layers.")); }

TEST_P(FamilyRuns, MergedWeightsAreThoseOfPeft) {
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(golden_.folder);
  const lora::AdapterSet adapters = lora::load_peft(golden_.adapter, checkpoint.spec());
  std::map<std::string, std::string> names;
  for (const lora::TensorRow& row : lora::linears_of(checkpoint.spec())) {
    names[inside_layers(row.name())] = row.name();
  }
  Context ctx(Device::cpu(), 1, 0);
  MergeReport report;
  const std::optional<quant::Storage> original;
  MergedWeights merged(ctx, checkpoint, adapters, original, report);
  int compared = 0;
  double largest = 0.0;
  for (const io::SafetensorsEntry& entry : golden_.tensors.entries()) {
    if (!entry.name.starts_with("merged/")) continue;
    ASSERT_TRUE(names.contains(inside_layers(entry.name))) << entry.name;
    const std::string& name = names.at(inside_layers(entry.name));
    std::vector<float> made(entry.bytes / sizeof(float));
    to_floats(DType::kF32, merged.make(name), made);
    const std::vector<double> ours(made.begin(), made.end());
    const double difference =
        tessera::testing::largest_difference(ours, golden_.values(entry.name));
    EXPECT_LE(difference, 1e-6) << entry.name;
    largest = std::max(largest, difference);
    ++compared;
  }
  EXPECT_EQ(compared, 2);
  tessera::testing::report(golden_, "merged weights", largest, std::nullopt);
}

/// Every byte of the tensors' file. The config has fewer keys than that of the newest PEFT, with
/// the same values; target_modules may select the same modules in other words.
TEST_P(FamilyRuns, AnAdapterIsWrittenAsPeftWroteIt) {
  const lora::ModelSpec spec = lora::Checkpoint::open(golden_.folder).spec();
  const Folder ours(scratch_.file("adapter")), theirs(golden_.adapter);
  lora::save_peft(ours.path(), lora::load_peft(theirs.path(), spec), golden_.name);
  const auto tensors_of = [](const Folder& folder) {
    return tessera::testing::bytes_of_file(folder.file(lora::kPeftWeightsFile));
  };
  EXPECT_TRUE(tensors_of(ours) == tensors_of(theirs));
  const auto config_of = [](const Folder& folder) {
    return io::read_json_file(folder.file(lora::kPeftConfigFile), 1 << 20);
  };
  const nlohmann::json written = config_of(ours), original = config_of(theirs);
  for (const auto& [key, value] : written.items()) {
    if (key == "target_modules") continue;
    EXPECT_EQ(value, original.at(key)) << key;
  }
  const auto modules_of = [&](const Folder& folder) {
    std::vector<std::string> modules;
    const lora::TargetModules targets = lora::open_peft(folder.path()).config.options.targets;
    for (const lora::TensorRow& row : lora::select_linears(targets, spec)) {
      modules.push_back(row.module);
    }
    return modules;
  };
  EXPECT_EQ(modules_of(ours), modules_of(theirs));
}

INSTANTIATE_TEST_SUITE_P(All, FamilyRuns, ::testing::ValuesIn(tessera::testing::kFamilyNames),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::launch
