// Matrices trained in full, and rows of single tokens, on a GPU in float32: against PEFT and
// float64 as on the CPU (tests/golden/modules_to_save).
#include <gtest/gtest.h>

#include "tests/launch/modules_golden.h"

namespace tessera::launch {
namespace {

class ModulesToSaveOnGpu : public ::testing::TestWithParam<const char*> {};

TEST_P(ModulesToSaveOnGpu, TrainsAsPeftDoes) {
  testing::expect_training_as_peft(testing::ModulesGolden(GetParam()),
                                   {"device=cuda", "bnb_4bit_compute_dtype=float32"});
}

/// With operands of 16 bits, which are copies.
TEST_P(ModulesToSaveOnGpu, TrainsInBfloat16) {
  const testing::ModulesGolden golden(GetParam());
  const std::string out = golden.run("run", {"lora_model_dir=" + golden.start(), "device=cuda",
                                             "bnb_4bit_compute_dtype=bfloat16"});
  std::ifstream metrics(out + "/metrics.jsonl");
  nlohmann::json step;
  for (std::string line; !step.contains("grad_norm") && std::getline(metrics, line);) {
    step = nlohmann::json::parse(line);
  }
  const nlohmann::json& exact = golden.numbers.at("float64").at("steps").at(0);
  EXPECT_NEAR(step.at("loss").get<double>(), exact.at("loss").get<double>(), 0.1);
  EXPECT_LE(tessera::testing::relative_difference(step.at("grad_norm"), exact.at("grad_norm")),
            0.1);
}

INSTANTIATE_TEST_SUITE_P(All, ModulesToSaveOnGpu,
                         ::testing::Values("tied_as_one", "tokens_and_head", "tied_tokens_capped"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::launch
