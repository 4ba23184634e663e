// For tests: tests/golden/modules_to_save, trainings of matrices in full, or of rows of single
// tokens, beside adapters by PEFT; and the same runs here, on any device.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/run/train.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"
#include "parallel/self_communicator.h"
#include "runtime/io/json.h"
#include "tests/family_golden.h"
#include "tests/scratch_folder.h"

namespace tessera::testing {

inline const std::string kModulesGolden = std::string(TESSERA_GOLDEN_DIR) + "/modules_to_save";

/// One case of golden.json.
struct ModulesGolden {
  explicit ModulesGolden(const std::string& case_name)
      : name(case_name),
        numbers(
            io::read_json_file(kModulesGolden + "/golden.json", 1 << 20).at("cases").at(case_name)),
        family(numbers.at("family").get<std::string>()) {}

  /// In this case modules differ in rank and alpha.
  bool has_patterns() const { return name == "llama"; }

  std::vector<std::string> settings() const {
    std::vector<std::string> all = {
        "lora_modules_to_save=" + numbers.at("modules_to_save").dump(),
        "lora_ensure_weight_tying=" + numbers.at("ensure_weight_tying").dump(),
        "lora_trainable_token_indices=" + numbers.at("trainable_token_indices").dump()};
    if (has_patterns()) {
      const std::string mlp = "layers\\.[01]\\.mlp\\.(gate|up)_proj";
      all.push_back(
          "lora_rank_pattern={layers.0.self_attn.q_proj: 6, 'q_proj|up_proj': 2, "
          "'v_proj|mlp\\.\\w+': 3}");
      all.push_back("lora_alpha_pattern={'" + mlp + "': 5, o_proj: 2.5}");
    }
    return all;
  }

  /// What the training starts from: the family's adapter, and matrices and rows of the base. PEFT
  /// wrote those of two cases.
  std::string start() const {
    if (has_patterns()) return kModulesGolden + "/adapter";
    if (name == "tokens") return kModulesGolden + "/adapter_tokens";
    const lora::Checkpoint base = lora::Checkpoint::open(family.folder);
    const lora::AdapterSet from = lora::load_peft(family.adapter, base.spec());
    lora::AdapterSet to = at_first();
    std::ranges::copy(from.params(), to.params().begin());
    lora::save_peft(scratch.file("start"), to, "");
    return scratch.file("start");
  }

  /// Matrices and rows as they are in the base; no adapters.
  lora::AdapterSet at_first() const {
    const lora::Checkpoint base = lora::Checkpoint::open(family.folder);
    lora::AdapterSet set(base.spec(), launch::adapter_options(config("unused", {})));
    set.copy_whole(base);
    return set;
  }

  launch::Config config(const std::string& out, const std::vector<std::string>& more) const {
    std::vector<std::string> overrides = settings();
    overrides.push_back("base_model=" + family.folder);
    overrides.push_back("output_dir=" + scratch.file(out));
    overrides.push_back(fmt::format("global_batch_size={}", family.samples.size()));
    overrides.push_back(
        fmt::format("datasets=[{{path: {}/data.jsonl, type: tokenized}}]", family.folder));
    overrides.insert(overrides.end(), more.begin(), more.end());
    return launch::load_config(std::string(TESSERA_GOLDEN_DIR) + "/families/three_steps.yml",
                               overrides);
  }

  std::string run(const std::string& out, const std::vector<std::string>& more) const {
    parallel::SelfCommunicator self;
    EXPECT_EQ(launch::train(config(out, more), self), launch::kFinished);
    return scratch.file(out);
  }

  lora::AdapterSet load(const std::string& folder) const {
    return lora::load_peft(folder, lora::Checkpoint::open(family.folder).spec());
  }

  std::string name;
  nlohmann::json numbers;
  FamilyGolden family;
  ScratchFolder scratch;
};

/// Losses and gradient norms of three steps, and what the adapter holds then but for LoRA.
inline void expect_training_as_peft(const ModulesGolden& golden,
                                    const std::vector<std::string>& more) {
  using nlohmann::json;
  const std::string from = golden.start();
  std::vector<std::string> overrides = {"lora_model_dir=" + from};
  overrides.insert(overrides.end(), more.begin(), more.end());
  const std::string out = golden.run("run", overrides);
  std::ifstream metrics(out + "/metrics.jsonl");
  std::vector<json> steps;
  for (std::string line; std::getline(metrics, line);) {
    const json step = json::parse(line);
    if (step.contains("grad_norm")) steps.push_back(step);
  }
  const json& exact = golden.numbers.at("float64");
  ASSERT_EQ(steps.size(), exact.at("steps").size());
  for (size_t s = 0; s < steps.size(); ++s) {
    const json& step = exact["steps"][s];
    EXPECT_LE(relative_difference(steps[s].at("loss"), step.at("loss")), 1e-5) << s;
    EXPECT_LE(relative_difference(steps[s].at("grad_norm"), step.at("grad_norm")), 1e-4) << s;
  }
  // Every element that is compared has moved by up to three steps of 1e-2.
  const io::SafetensorsFile file(out + "/adapter_model.safetensors");
  const io::SafetensorsFile before(from + "/adapter_model.safetensors");
  size_t beside = 0;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    if (entry.name.find(".lora_") != std::string::npos) continue;
    ++beside;
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(exact.at("stored").contains(entry.name));
    const json& expected = exact["stored"][entry.name];
    std::vector<float> values(entry.bytes / sizeof(float)), old(values.size());
    file.read(entry, std::as_writable_bytes(std::span(values)));
    before.read(*before.find(entry.name), std::as_writable_bytes(std::span(old)));
    EXPECT_EQ(entry.shape, expected.at("shape").get<std::vector<int64_t>>());
    for (const json& element : expected.at("elements")) {
      EXPECT_NEAR(values[element.at("index").get<size_t>()], element.at("value").get<double>(),
                  2e-5);
    }
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += std::pow(double(values[i]) - double(old[i]), 2);
    }
    EXPECT_LE(relative_difference(std::sqrt(sum), expected.at("update_l2")), 1e-4);
  }
  EXPECT_EQ(beside, exact.at("stored").size());
}

}  // namespace tessera::testing
