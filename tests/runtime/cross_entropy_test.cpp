// The cross-entropy against torch, against double precision, finite differences, and its promise
// about bits.
#include "runtime/ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;
using Ids = std::vector<int32_t>;

class CrossEntropy : public ::testing::Test {
 protected:
  CrossEntropy() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }

  /// Losses; logits become the gradient.
  Floats run(Context& ctx, Floats& logits, const Ids& targets, float scale) {
    return run(ctx, logits, targets, CrossEntropyOptions{scale});
  }
  Floats run(Context& ctx, Floats& logits, const Ids& targets, const CrossEntropyOptions& options) {
    const int64_t rows = int64_t(targets.size()), cols = int64_t(logits.size()) / rows;
    Floats losses(targets.size());
    const Tensor x = Tensor::of(std::span(logits), {rows, cols});
    cross_entropy(ctx, Tensor::of(std::span(losses), {rows}), x, targets, options);
    return losses;
  }
  static Tensor of(Floats& weights) {
    return Tensor::of(std::span(weights), {int64_t(weights.size())});
  }
  Context ctx_;
};

TEST_F(CrossEntropy, AgreesWithTorch) {
  const auto golden = testing::ops_golden("cross_entropy");
  Floats logits = golden["logits"];
  const Ids targets = golden["targets"];
  const Floats losses = run(ctx_, logits, targets, golden["scale"].get<float>());
  testing::expect_close(losses, golden["losses"], 5e-7);
  testing::expect_close(logits, golden["dlogits"], 1e-7);
}

TEST_F(CrossEntropy, IsAccurateForALargeVocabulary) {
  const int64_t vocab = 151937;
  Floats logits = grid_values(size_t(2 * vocab), 1, 8.0f);
  const Floats original = logits;
  const Ids targets = {5, int32_t(vocab - 1)};
  const Floats losses = run(ctx_, logits, targets, 1.0f);
  for (int64_t row = 0; row < 2; ++row) {
    const float* x = original.data() + row * vocab;
    double sum = 0;
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(double(x[i]));
    const int32_t target = targets[size_t(row)];
    EXPECT_NEAR(losses[size_t(row)], std::log(sum) - double(x[target]), 3e-6);
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      const double expected = std::exp(double(x[i])) / sum - (i == target ? 1.0 : 0.0);
      const double got = double(logits[size_t(row * vocab + i)]);
      ASSERT_NEAR(got, expected, 1e-6 * std::abs(expected));
      total += got;
    }
    EXPECT_NEAR(total, 0.0, 1e-6);  // a softmax gradient sums to nothing
  }
}

TEST_F(CrossEntropy, GradientIsTheDerivative) {
  for (int64_t cols : {2, 16, 21, 60}) {
    const Ids targets = {0, int32_t(cols - 1), 1};
    Floats logits = grid_values(size_t(3 * cols), 2);
    Floats dlogits = logits;
    run(ctx_, dlogits, targets, 0.5f);
    const auto loss = [&] {
      Floats copy = logits;
      const Floats losses = run(ctx_, copy, targets, 0.5f);
      return 0.5 * (double(losses[0]) + double(losses[1]) + double(losses[2]));
    };
    testing::expect_gradient(logits, dlogits, loss);
  }
}

TEST_F(CrossEntropy, GradientIsTheDerivativeOfTheWeightedSum) {
  for (int64_t cols : {2, 16, 21, 60}) {
    const Ids targets = {0, int32_t(cols - 1), 1};
    Floats logits = grid_values(size_t(3 * cols), 2), weights = {0.5f, 1.5f, 0.25f};
    Floats dlogits = logits;
    run(ctx_, dlogits, targets, {0.5f, of(weights)});
    const auto loss = [&] {
      Floats copy = logits;
      const Floats losses = run(ctx_, copy, targets, {0.5f, of(weights)});
      return 0.5 * testing::dot(losses, weights);
    };
    testing::expect_gradient(logits, dlogits, loss);
  }
}

/// A weight acts on the gradient of its own row, as if the row had been alone with another scale.
TEST_F(CrossEntropy, WeightsScaleTheGradientsOfTheirRows) {
  const int64_t cols = 5003;
  const Floats logits = grid_values(size_t(4 * cols), 4, 6.0f);
  const Ids targets = {7, 0, 5002, 100};
  Floats weights = {0.3f, 1.0f, 0.0f, 1.7f}, weighted = logits, plain = logits;
  const float scale = 1.0f / 7.0f;
  const Floats losses = run(ctx_, weighted, targets, {scale, of(weights)});
  EXPECT_EQ(losses, run(ctx_, plain, targets, scale));
  for (int64_t row = 0; row < 4; ++row) {
    const auto of_row = [&](const Floats& all) {
      return Floats(all.begin() + row * cols, all.begin() + (row + 1) * cols);
    };
    Floats alone = of_row(logits);
    run(ctx_, alone, {targets[size_t(row)]}, scale * weights[size_t(row)]);
    EXPECT_EQ(of_row(weighted), alone) << "row " << row;
    EXPECT_EQ(of_row(weighted) == of_row(plain), weights[size_t(row)] == 1.0f) << "row " << row;
  }
}

TEST_F(CrossEntropy, SmoothsAsTransformers) {
  const auto golden =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/ops/label_smoothing.json", 1 << 20);
  for (const auto& c : golden["cases"]) {
    SCOPED_TRACE(c["smoothing"]);
    Floats logits = golden["logits"];
    const Ids targets = golden["targets"];
    const float scale = golden["scale"].get<float>(), smoothing = c["smoothing"].get<float>();
    const Floats losses = run(ctx_, logits, targets, {scale, {}, smoothing});
    testing::expect_close(losses, c["losses"], 5e-7);
    testing::expect_close(logits, c["dlogits"], 1e-7);
  }
}

TEST_F(CrossEntropy, SmoothedGradientIsTheDerivativeOfTheWeightedSum) {
  for (int64_t cols : {2, 16, 21, 60}) {
    const Ids targets = {0, int32_t(cols - 1), 1};
    Floats logits = grid_values(size_t(3 * cols), 2), weights = {0.5f, 1.5f, 0.25f};
    Floats dlogits = logits;
    run(ctx_, dlogits, targets, {0.5f, of(weights), 0.3f});
    const auto loss = [&] {
      Floats copy = logits;
      const Floats losses = run(ctx_, copy, targets, {0.5f, of(weights), 0.3f});
      return 0.5 * testing::dot(losses, weights);
    };
    testing::expect_gradient(logits, dlogits, loss);
  }
}

TEST_F(CrossEntropy, SmoothingIsAccurateForALargeVocabulary) {
  const int64_t vocab = 151937;
  const double smoothing = double(0.1f);
  Floats logits = grid_values(size_t(vocab), 1, 8.0f);
  const Floats x = logits;
  const Floats losses = run(ctx_, logits, {5}, {1.0f, {}, 0.1f});
  double sum = 0, mean = 0;
  for (float logit : x) {
    sum += std::exp(double(logit));
    mean += double(logit) / double(vocab);
  }
  EXPECT_NEAR(losses[0], std::log(sum) - (1 - smoothing) * double(x[5]) - smoothing * mean, 3e-6);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    const double wanted = smoothing / double(vocab) + (i == 5 ? 1 - smoothing : 0.0);
    ASSERT_NEAR(logits[size_t(i)], std::exp(double(x[size_t(i)])) / sum - wanted, 2e-7);
    total += double(logits[size_t(i)]);
  }
  EXPECT_NEAR(total, 0.0, 1e-6);
}

TEST_F(CrossEntropy, SmoothingSeesNanAndMaskedTokens) {
  const float inf = std::numeric_limits<float>::infinity();
  Floats logits = {NAN, 0, 0, 0, inf, 1, -inf, 0, 0};
  const Floats losses = run(ctx_, logits, {1, 0, 1}, {1.0f, {}, 0.1f});
  EXPECT_TRUE(std::isnan(losses[0]) && std::isnan(losses[1]));
  EXPECT_EQ(losses[2], inf);
}

TEST_F(CrossEntropy, RefusesASmoothingThatLeavesNoTarget) {
  for (float smoothing : {-0.1f, 1.0f, NAN}) {
    Floats logits(4);
    EXPECT_THROW(run(ctx_, logits, {0}, {1.0f, {}, smoothing}), std::logic_error);
  }
}

TEST_F(CrossEntropy, RefusesWeightsThatAreNotOneForEachRow) {
  Floats logits(6), weights(1);
  EXPECT_THROW(run(ctx_, logits, {0, 1}, {1.0f, of(weights)}), std::logic_error);
}

TEST_F(CrossEntropy, ExtremeLogitsAreStableAndNanIsSeen) {
  const float inf = std::numeric_limits<float>::infinity();
  Floats logits = {1e30f,  -1e30f, 0,  // certain
                   -1e30f, 1e30f,  0,  // certain and wrong
                   -inf,   0,      0,  // a masked token
                   NAN,    0,      0,  //
                   0,      NAN,    1,  //
                   0,      inf,    1};
  const Floats losses = run(ctx_, logits, {0, 0, 1, 1, 0, 0}, 1.0f);
  EXPECT_EQ(losses[0], 0.0f);
  EXPECT_EQ(losses[1], 2e30f);
  EXPECT_NEAR(losses[2], std::log(2.0), 1e-7);
  for (size_t row : {3, 4, 5}) EXPECT_TRUE(std::isnan(losses[row])) << row;
  EXPECT_EQ(logits[0], 0.0f);
  EXPECT_EQ(logits[3], -1.0f);
  EXPECT_EQ(logits[4], 1.0f);
  EXPECT_EQ(logits[6], 0.0f);
}

TEST_F(CrossEntropy, SameBitsOnAnyThreadCountAndTarget) {
  const int64_t rows = 40, cols = 5003;
  testing::expect_same_bits([&](Context& ctx) {
    Floats logits = grid_values(size_t(rows * cols), 3, 10.0f);
    Ids targets;
    for (int64_t i = 0; i < rows; ++i) targets.push_back(int32_t(i * 101 % cols));
    Floats weights = grid_values(size_t(rows), 5);
    Floats smoothed = logits;
    const Floats losses = run(ctx, logits, targets, {1.0f / 3.0f, of(weights)});
    const Floats others = run(ctx, smoothed, targets, {1.0f / 3.0f, of(weights), 0.1f});
    for (const Floats& more : {losses, smoothed, others}) {
      logits.insert(logits.end(), more.begin(), more.end());
    }
    return logits;
  });
}

TEST_F(CrossEntropy, RefusesTargetsOutsideTheVocabulary) {
  for (int32_t target : {-1, 4}) {
    Floats logits(4);
    EXPECT_THROW(run(ctx_, logits, {target}, 1.0f), Error);
  }
}

}  // namespace
}  // namespace tessera
