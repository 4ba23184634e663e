// Every family as users run it: training over NF4, greedy continuation and merging, against
// transformers, PEFT and bitsandbytes (tests/golden/families).
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "launch/commands/merged_weights.h"
#include "launch/config/config.h"
#include "launch/run/generator.h"
#include "launch/run/train.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "parallel/self_communicator.h"
#include "tests/family_golden.h"
#include "tests/launch/loaded_model.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using tessera::testing::Distances;
using tessera::testing::expect_near_float64;
using tessera::testing::FamilyGolden;
using tessera::testing::kExact;
using tessera::testing::kPeer;
using tessera::testing::relative_difference;
using tessera::testing::ScratchFolder;

class FamilyRuns : public ::testing::TestWithParam<const char*> {
 protected:
  FamilyGolden golden_{GetParam()};
  ScratchFolder scratch_;
};

/// The lines of metrics.jsonl after three steps.
std::vector<json> train_three_steps(const FamilyGolden& golden, const std::string& out) {
  const std::vector<std::string> overrides = {
      "base_model=" + golden.folder, "lora_model_dir=" + golden.adapter, "output_dir=" + out,
      fmt::format("gradient_accumulation_steps={}", golden.samples.size()),
      fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", golden.folder)};
  parallel::SelfCommunicator self;
  const std::string settings = std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml";
  EXPECT_EQ(train(load_config(settings, overrides), self), kFinished);
  std::vector<json> steps;
  std::ifstream metrics(out + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const json step = json::parse(line);
    if (step.contains("grad_norm")) steps.push_back(step);
  }
  return steps;
}

TEST_P(FamilyRuns, TrainingOverNf4) {
  const std::vector<json> ours = train_three_steps(golden_, scratch_.file("run"));
  const json &exact = golden_.numbers.at("nf4").at(kExact), &peer = golden_.numbers["nf4"][kPeer];
  ASSERT_EQ(ours.size(), exact.size());
  const auto distances = [&](const char* key) {
    Distances largest;
    for (size_t s = 0; s < exact.size(); ++s) {
      largest.add(relative_difference(ours[s].at(key), exact[s].at(key)),
                  relative_difference(peer[s].at(key), exact[s].at(key)));
    }
    return largest;
  };
  expect_near_float64(golden_, "loss over NF4", distances("loss"), 1e-5);
  expect_near_float64(golden_, "gradient norm over NF4", distances("grad_norm"), 1e-4);
}

TEST_P(FamilyRuns, GreedyContinuationIsThatOfPeft) {
  using Ids = std::vector<int32_t>;
  const json& greedy = golden_.numbers.at("greedy");
  const auto expected = greedy.at("tokens").get<Ids>();
  testing::TestModel model(golden_.folder, std::nullopt, golden_.adapter);
  GeneratorOptions options;
  options.max_new_tokens = int64_t(expected.size());
  options.sampler.temperature = 0.0;
  Ids tokens;
  EXPECT_TRUE(
      generate_answers(model.decoder(), std::vector<Ids>{greedy.at("prompt").get<Ids>()}, options,
                       {[&](size_t, int32_t id) { tokens.push_back(id); }, [](size_t, Finish) {}}));
  EXPECT_EQ(tokens, expected);
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
  for (const io::SafetensorsEntry& entry : golden_.tensors.entries()) {
    if (!entry.name.starts_with("merged/")) continue;
    ASSERT_TRUE(names.contains(inside_layers(entry.name))) << entry.name;
    const std::string& name = names.at(inside_layers(entry.name));
    std::vector<float> made(entry.bytes / sizeof(float));
    to_floats(DType::kF32, merged.make(name), made);
    const std::vector<double> ours(made.begin(), made.end());
    EXPECT_LE(tessera::testing::largest_difference(ours, golden_.values(entry.name)), 1e-6)
        << entry.name;
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

INSTANTIATE_TEST_SUITE_P(All, FamilyRuns, ::testing::ValuesIn(tessera::testing::kFamilyNames),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::launch
