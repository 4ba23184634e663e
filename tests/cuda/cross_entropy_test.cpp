// The cross-entropy on the GPU against the CPU, whose rules for NaN and infinities it keeps.
#include "runtime/ops/cross_entropy.h"

#include <limits>

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;
using Ids = std::vector<int32_t>;

// Of a loss: sums of exponentials in float32 parts on both sides, and an expf within 2 units in the
// last place (2.4e-7) on each; measured 3.4e-7 beyond the relative noise, with an exact expf.
constexpr Noise kLoss{1e-6, 1e-6};
// Of a gradient: the noise of the sum and of expf. At the target it is p - 1, where the noise of p
// stays as it is while the difference may be small.
constexpr Noise kGradient{2e-6, 1e-12};
constexpr Noise kGradientAtTarget{2e-6, 1e-6};

struct Result {
  Floats losses;
  Floats gradient;
};

/// Without weights, the operator gets none.
struct Scale {
  float scale;
  Floats weights{};
  float smoothing = 0.0f;
};

Result on_gpu(DType dtype, const Floats& logits, const Ids& targets, const Scale& scale) {
  const int64_t rows = int64_t(targets.size()), cols = int64_t(logits.size()) / rows;
  DeviceContext gpu(dtype);
  const OnDevice x(dtype, {rows, cols}, logits), losses(DType::kF32, {rows});
  if (scale.weights.empty()) {
    cross_entropy(gpu, losses, x, targets, {scale.scale, {}, scale.smoothing});
    return {losses.values(gpu), x.values(gpu)};
  }
  const OnDevice weights(DType::kF32, {rows}, scale.weights);
  cross_entropy(gpu, losses, x, targets, {scale.scale, weights, scale.smoothing});
  return {losses.values(gpu), x.values(gpu)};
}

Result on_cpu(Floats logits, const Ids& targets, Scale scale) {
  CpuContext cpu;
  Floats losses(targets.size());
  const Tensor weights = scale.weights.empty() ? Tensor() : of(scale.weights);
  cross_entropy(cpu, of(losses), of(logits, int64_t(targets.size())), targets,
                {scale.scale, weights, scale.smoothing});
  return {losses, logits};
}

void expect_agree(DType dtype, const Floats& logits, const Ids& targets, const Scale& scale) {
  Result got = on_gpu(dtype, logits, targets, scale);
  Result expected = on_cpu(logits, targets, scale);
  expect_close(DType::kF32, got.losses, expected.losses, kLoss);
  const size_t cols = logits.size() / targets.size();
  for (size_t row = 0; row < targets.size(); ++row) {
    float &mine = got.gradient[row * cols + size_t(targets[row])],
          &cpus = expected.gradient[row * cols + size_t(targets[row])];
    expect_close(dtype, {mine}, {cpus}, kGradientAtTarget);
    mine = cpus = 0.0f;
  }
  expect_close(dtype, got.gradient, expected.gradient, kGradient);
}

TEST(CudaCrossEntropy, AgreesWithTheCpu) {
  for (DType dtype : kFloatTypes) {
    for (int64_t cols : {1, 2, 7, 8, 33, 4096, 4104, 5003, 40009}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(cols));
      const Ids targets = {0, int32_t(cols - 1), int32_t(cols / 2)};
      const Floats logits = normal_values(dtype, 3 * cols, 1, 4.0f);
      expect_agree(dtype, logits, targets, {0.125f});
    }
  }
}

TEST(CudaCrossEntropy, WeightsScaleTheGradientsOfTheirRows) {
  for (DType dtype : kFloatTypes) {
    for (int64_t cols : {1, 7, 33, 5003}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(cols));
      const Ids targets = {0, int32_t(cols - 1), int32_t(cols / 2), 0};
      const Floats logits = normal_values(dtype, 4 * cols, 1, 4.0f);
      const float scale = 0.125f / 3.0f;
      const Floats weights = {0.3f, 1.0f, 0.0f, 1.7f};
      expect_agree(dtype, logits, targets, {scale, weights});
      const Result weighted = on_gpu(dtype, logits, targets, {scale, weights});
      EXPECT_EQ(weighted.losses, on_gpu(dtype, logits, targets, {scale}).losses);
      for (size_t row = 0; row < 4; ++row) {
        const auto of_row = [&](const Floats& all) {
          const auto begin = all.begin() + int64_t(row) * cols;
          return Floats(begin, begin + cols);
        };
        const Result alone = on_gpu(dtype, of_row(logits), {targets[row]}, {scale * weights[row]});
        EXPECT_EQ(of_row(weighted.gradient), alone.gradient) << "row " << row;
      }
    }
  }
}

TEST(CudaCrossEntropy, SmoothsAsTheCpu) {
  for (DType dtype : kFloatTypes) {
    for (int64_t cols : {1, 2, 7, 8, 33, 4104, 5003, 40009}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(cols));
      const Ids targets = {0, int32_t(cols - 1), int32_t(cols / 2)};
      const Floats logits = normal_values(dtype, 3 * cols, 1, 4.0f), weights = {0.3f, 1.0f, 1.7f};
      const Scale scale = {0.125f, weights, 0.1f};
      Result got = on_gpu(dtype, logits, targets, scale);
      const Result expected = on_cpu(logits, targets, scale);
      expect_close(DType::kF32, got.losses, expected.losses, kLoss);
      // The share of the vocabulary cancels what the softmax gives, with its noise.
      expect_close(dtype, got.gradient, expected.gradient, kGradientAtTarget);
    }
  }
}

// The largest logits last, or first, or in the last of the threads: sums have to be scaled over.
TEST(CudaCrossEntropy, FindsTheLargestLogitWhereverItIs) {
  const int64_t cols = 9001;
  for (int64_t at : {int64_t{0}, int64_t{511}, int64_t{512}, int64_t{4097}, cols - 1}) {
    Floats logits(static_cast<size_t>(cols), -5.0f);
    logits[size_t(at)] = 9.0f;
    for (int32_t target : {int32_t(at), 17}) expect_agree(DType::kF32, logits, {target}, {1.0f});
  }
  Floats rising(static_cast<size_t>(cols));
  for (size_t i = 0; i < rising.size(); ++i) rising[i] = 0.01f * float(i);
  expect_agree(DType::kF32, rising, {3}, {1.0f});
}

TEST(CudaCrossEntropy, ATargetThatIsNearlyCertainKeepsItsGradient) {
  Floats logits(4096, -22.0f);
  logits[100] = 0.0f;
  const Result got = on_gpu(DType::kF32, logits, {100}, {1.0f});
  const double others = 4095 * std::exp(-22.0), loss = std::log1p(others);
  // The thread of the target adds seven others to a 1, and loses them.
  EXPECT_NEAR(got.losses[0] / loss, 1.0, 0.003);
  EXPECT_NEAR(got.gradient[100] / (-others / (1 + others)), 1.0, 0.003);
}

TEST(CudaCrossEntropy, NanAndInfinitiesAreTheCpus) {
  const float inf = std::numeric_limits<float>::infinity();
  for (DType dtype : kFloatTypes) {
    const float huge = dtype == DType::kF16 ? 6e4f : 1e30f;
    const Floats logits = rounded(dtype, {huge,  -huge, 0,     // certain
                                          -huge, huge,  0,     // certain and wrong
                                          -inf,  0,     0,     // a masked token
                                          -inf,  0,     1,     // and the target
                                          -inf,  -inf,  -inf,  //
                                          NAN,   0,     0,     //
                                          0,     NAN,   1,     //
                                          NAN,   NAN,   NAN,   //
                                          -inf,  NAN,   -inf,  //
                                          0,     inf,   1});
    const Ids targets = {0, 0, 1, 0, 1, 1, 0, 0, 0, 0};
    const Result got = on_gpu(dtype, logits, targets, {1.0f});
    const Result expected = on_cpu(logits, targets, {1.0f});
    for (size_t row : {4, 5, 6, 7, 8, 9}) EXPECT_TRUE(std::isnan(got.losses[row])) << row;
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_EQ(std::isnan(got.gradient[i]), std::isnan(expected.gradient[i])) << i;
      if (std::isnan(expected.gradient[i])) continue;
      EXPECT_NEAR(got.gradient[i], expected.gradient[i], 0.004) << i;
    }
    for (size_t row : {0, 1, 2, 3}) {
      if (std::isinf(expected.losses[row])) {
        EXPECT_EQ(got.losses[row], expected.losses[row]);
      } else {
        EXPECT_NEAR(got.losses[row], expected.losses[row], 1e-6 * expected.losses[row]) << row;
      }
    }
  }
}

// A mask of -infinity over all that a thread sees first must not make its sum NaN.
TEST(CudaCrossEntropy, MaskedLogitsBeforeAllOthersCountForNothing) {
  const float inf = std::numeric_limits<float>::infinity();
  Floats logits(20000, -inf);
  for (size_t i = 10000; i < logits.size(); ++i) logits[i] = float(i % 7);
  expect_agree(DType::kF32, logits, {10001}, {1.0f});
}

TEST(CudaCrossEntropy, RefusesTargetsOutsideTheVocabulary) {
  for (int32_t target : {-1, 4}) {
    EXPECT_THROW(on_gpu(DType::kF32, Floats(4), {target}, {1.0f}), Error);
  }
}

TEST(CudaCrossEntropy, PlansTheScratchThatItTakes) {
  DeviceContext gpu;
  Context planned(test_device(), 1, 7);
  const OnDevice losses(DType::kF32, {2}), logits(DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  const OnDevice weights(DType::kF32, {2}, {1, 2});
  for (Context* ctx : {static_cast<Context*>(&gpu), &planned}) {
    cross_entropy(*ctx, losses, logits, Ids{0, 1}, {1.0f});
    cross_entropy(*ctx, losses, logits, Ids{0, 1}, {1.0f, weights});
    EXPECT_EQ(ctx->scratch().high_water(), 256u);
    EXPECT_EQ(ctx->scratch().used(), 0u);
  }
}

}  // namespace
}  // namespace tessera
