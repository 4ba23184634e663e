// For tests: what users do with a family's golden model, on any device.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/run/generator.h"
#include "launch/run/train.h"
#include "parallel/self_communicator.h"
#include "tests/family_golden.h"
#include "tests/launch/loaded_model.h"

namespace tessera::testing {

/// Trains three steps over NF4 into the folder `out`, and holds losses and gradient norms to a
/// float64 run over the same bits; `where` names the run in the report.
inline void expect_three_steps(const FamilyGolden& golden, const std::string& out,
                               std::vector<std::string> overrides, std::string_view where) {
  overrides.insert(
      overrides.end(),
      {"base_model=" + golden.folder, "lora_model_dir=" + golden.adapter, "output_dir=" + out,
       fmt::format("gradient_accumulation_steps={}", golden.samples.size()),
       fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", golden.folder)});
  parallel::SelfCommunicator self;
  const std::string settings = std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml";
  EXPECT_EQ(launch::train(launch::load_config(settings, overrides), self), launch::kFinished);
  std::vector<nlohmann::json> ours;
  std::ifstream metrics(out + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const auto step = nlohmann::json::parse(line);
    if (step.contains("grad_norm")) ours.push_back(step);
  }
  const nlohmann::json& steps = golden.numbers.at("nf4");
  const nlohmann::json &exact = steps.at(kExact), &peer = steps.at(kPeer);
  ASSERT_EQ(ours.size(), exact.size());
  const auto distances = [&](const char* key) {
    Distances largest;
    for (size_t s = 0; s < exact.size(); ++s) {
      largest.add(relative_difference(ours[s].at(key), exact[s].at(key)),
                  relative_difference(peer[s].at(key), exact[s].at(key)));
    }
    return largest;
  };
  expect_near_float64(golden, fmt::format("loss {}", where), distances("loss"), 1e-5);
  expect_near_float64(golden, fmt::format("gradient norm {}", where), distances("grad_norm"), 1e-4);
}

inline void expect_greedy_continuation(const FamilyGolden& golden, Device device) {
  using Ids = std::vector<int32_t>;
  const nlohmann::json& greedy = golden.numbers.at("greedy");
  const auto expected = greedy.at("tokens").get<Ids>();
  TestModel model(golden.folder, std::nullopt, golden.adapter, device);
  launch::GeneratorOptions options;
  options.max_new_tokens = int64_t(expected.size());
  options.sampler.temperature = 0.0;
  Ids tokens;
  EXPECT_TRUE(launch::generate_answers(
      model.decoder(), std::vector<Ids>{greedy.at("prompt").get<Ids>()}, options,
      {[&](size_t, int32_t id) { tokens.push_back(id); }, [](size_t, launch::Finish) {}}));
  EXPECT_EQ(tokens, expected);
}

}  // namespace tessera::testing
