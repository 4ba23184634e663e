// Weights of tokens in a step and in an evaluation: both divide by the sum of the weights.
#include <gtest/gtest.h>

#include <algorithm>

#include "launch/plan/optimizer_state.h"
#include "launch/run/evaluate.h"
#include "launch/run/training_step.h"
#include "tests/expect_error.h"
#include "tests/launch/loaded_model.h"

namespace tessera::launch {
namespace {

using Batches = std::vector<lora::Batch>;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";
constexpr int32_t kTokens = 12;

/// Two micro-batches of one sample each, with these weights at every position.
Batches batches_with(const std::vector<float>& weights) {
  Batches batches(2);
  int32_t id = 0;
  for (size_t b = 0; b < batches.size(); ++b) {
    lora::Batch& batch = batches[b];
    for (int32_t i = 0; i < kTokens; ++i) {
      batch.ids.push_back(id = (id * 37 + 11) % 256);
      batch.targets.push_back(i % 4 == 0 ? lora::Batch::kUnsupervised : (id * 5 + 3) % 256);
      batch.positions.push_back(i);
    }
    batch.starts = {0, kTokens};
    if (!weights.empty()) batch.weights.assign(kTokens, weights[b]);
  }
  return batches;
}

class TokenWeights : public ::testing::Test {
 protected:
  struct Outcome {
    double loss, norm;
    std::vector<float> adapter;
    bool operator==(const Outcome&) const = default;
  };
  Outcome step(const Batches& batches) {
    testing::TestModel model(kTiny, std::nullopt, kTiny + "/adapter_out");
    lora::AdapterSet& adapters = model.adapters();
    Context& ctx = model.decoder().context();
    const Config config;
    const auto segments = state_segments(adapters, optim::StateBits::k32);
    optim::Optimizer optimizer(optim::adamw_rule(), segments, {0, adapters.size()}, {},
                               page_options(config, ctx.device()));
    TrainingStep step({ctx, alone_, model.decoder(), lora::default_loss(), adapters, optimizer},
                      config);
    lora::TrainingPass(model.decoder(), lora::default_loss()).plan(kTokens);
    model.decoder().allocate();
    LossScale scale;
    const StepResult result = step.run(0, batches, 1e-3, scale);
    EXPECT_FALSE(result.skipped);
    return {result.loss, result.grad_norm,
            std::vector<float>(adapters.params().begin(), adapters.params().end())};
  }
  Evaluation evaluation(const Batches& batches) {
    testing::TestModel model(kTiny, std::nullopt, kTiny + "/adapter_out");
    lora::EvaluationPass(model.decoder(), lora::default_loss()).plan(kTokens);
    model.decoder().allocate();
    Console console(false);
    const auto batch = [&](size_t i) { return batches[i]; };
    return evaluate(model.decoder(), lora::default_loss(), {int64_t(batches.size()), batch}, alone_,
                    console);
  }

  parallel::SelfCommunicator alone_;
};

TEST_F(TokenWeights, OneWeightForAllChangesNoBit) {
  const Outcome plain = step(batches_with({}));
  EXPECT_GT(plain.norm, 0.0);
  EXPECT_EQ(step(batches_with({1, 1})), plain);
  EXPECT_EQ(step(batches_with({2, 2})), plain);
  EXPECT_FALSE(step(batches_with({2, 1})) == plain);
  EXPECT_EQ(evaluation(batches_with({2, 2})).loss, evaluation(batches_with({})).loss);
}

TEST_F(TokenWeights, TheMeanIsOverTheWeightsOfAllMicroBatches) {
  const Batches both = batches_with({});
  const double first = evaluation({both[0]}).loss, second = evaluation({both[1]}).loss;
  ASSERT_NE(first, second);
  const double expected = (3 * first + 0.5 * second) / 3.5;  // as many tokens in each
  const Evaluation evaluated = evaluation(batches_with({3, 0.5}));
  EXPECT_NEAR(evaluated.loss, expected, 1e-12 * expected);
  EXPECT_EQ(evaluated.tokens, both[0].supervised() + both[1].supervised());
  EXPECT_NEAR(step(batches_with({3, 0.5})).loss, expected, 1e-12 * expected);
}

TEST_F(TokenWeights, AStepWithoutAnyHasNoGradient) {
  const Outcome none = step(batches_with({0, 0}));
  EXPECT_EQ(none.loss, 0.0);
  EXPECT_EQ(none.norm, 0.0);
  testing::TestModel model(kTiny, std::nullopt, kTiny + "/adapter_out");
  EXPECT_TRUE(std::ranges::equal(none.adapter, model.adapters().params()));
}

TEST_F(TokenWeights, AnEvaluationNeedsSome) {
  tessera::testing::expect_error(
      [&] {
        evaluation(batches_with({0, 0}));
      },
      "18 supervised tokens to evaluate", "add up to 0");
}

}  // namespace
}  // namespace tessera::launch
