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
    const int64_t rows = int64_t(targets.size()), cols = int64_t(logits.size()) / rows;
    Floats losses(targets.size()), alone(targets.size());
    const Tensor x = Tensor::of(std::span(logits), {rows, cols});
    cross_entropy_loss(ctx, Tensor::of(std::span(alone), {rows}), x, targets);
    cross_entropy(ctx, Tensor::of(std::span(losses), {rows}), x, targets, scale);
    for (size_t i = 0; i < losses.size(); ++i) {
      EXPECT_TRUE(losses[i] == alone[i] || (losses[i] != losses[i] && alone[i] != alone[i]));
    }
    return losses;
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
    Floats logits = grid_values(size_t(3 * cols), 2), losses(3);
    Floats dlogits = logits;
    run(ctx_, dlogits, targets, 0.5f);
    const auto loss = [&] {
      cross_entropy_loss(ctx_, Tensor::of(std::span(losses), {3}),
                         Tensor::of(std::span(logits), {3, cols}), targets);
      return 0.5 * (double(losses[0]) + double(losses[1]) + double(losses[2]));
    };
    testing::expect_gradient(logits, dlogits, loss);
  }
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
    const Floats losses = run(ctx, logits, targets, 1.0f / 3.0f);
    logits.insert(logits.end(), losses.begin(), losses.end());
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
