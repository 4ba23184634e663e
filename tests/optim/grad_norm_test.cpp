// The gradient norm against an exact sum and torch, the clip factor against torch's bits.
#include "optim/grad_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "hwy/targets.h"
#include "runtime/core/error.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

double grad_norm(Context& ctx, std::span<const float> grads) {
  return norm_of(chunk_sums(ctx, grads));
}

TEST(GradNorm, AgreesWithTorch) {
  Context ctx(Device::cpu(), 2, 0);
  const auto golden = read_golden("clip.json");
  ASSERT_FALSE(golden.at("cases").empty());
  for (const auto& c : golden.at("cases")) {
    auto grads = golden_values(7, c.at("count"));
    for (float& g : grads) g *= c.at("scale").get<float>();
    const double exact = c.at("exact_norm");
    // A chain of 256 FMAs in float32 errs by at most 256 * 2^-24 of the sum, the root by half that.
    EXPECT_NEAR(grad_norm(ctx, grads), exact, exact * 8e-6);
    EXPECT_NEAR(grad_norm(ctx, grads), double(c.at("torch_norm")), exact * 1e-5);
    const float factor = clip_factor(exact, c.at("max_norm"));
    EXPECT_EQ(std::bit_cast<uint32_t>(factor), c.at("factor").get<uint32_t>());
  }
}

TEST(GradNorm, FollowsTheDocumentedOrder) {
  const auto grads = golden_values(7, 50001);
  double total = 0.0;
  for (size_t begin = 0; begin < grads.size(); begin += 4096) {
    float chain[16] = {};
    for (size_t i = begin; i < std::min(begin + 4096, grads.size()); ++i) {
      chain[i % 16] = std::fma(grads[i], grads[i], chain[i % 16]);
    }
    for (int half = 8; half >= 1; half /= 2) {
      for (int i = 0; i < half; ++i) chain[i] += chain[i + half];
    }
    total += double(chain[0]);
  }
  Context ctx(Device::cpu(), 2, 0);
  EXPECT_EQ(grad_norm(ctx, grads), std::sqrt(total));
}

TEST(GradNorm, SameBitsOnAnyThreadCountAndTarget) {
  const auto grads = golden_values(7, 300007);
  const auto norm = [&](int threads) {
    Context ctx(Device::cpu(), threads, 0);
    return grad_norm(ctx, grads);
  };
  const double expected = norm(1);
  for (int threads : {2, 3, 4}) EXPECT_EQ(norm(threads), expected);
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  EXPECT_EQ(norm(2), expected);
  hwy::SetSupportedTargetsForTest(0);
}

TEST(GradNorm, OfSlicesHasTheBitsOfTheWhole) {
  Context ctx(Device::cpu(), 2, 0);
  const auto grads = golden_values(7, 50001);
  const double whole = grad_norm(ctx, grads);
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{0, 4096, 50001},
                                          {0, 8192, 8192, 12288, 50001},
                                          {0, 24576, 49152, 50001}}) {
    std::vector<float> gathered;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const auto sums = chunk_sums(ctx, std::span(grads).subspan(cuts[i], cuts[i + 1] - cuts[i]));
      gathered.insert(gathered.end(), sums.begin(), sums.end());
    }
    EXPECT_EQ(gathered.size(), 13u);
    EXPECT_EQ(norm_of(gathered), whole);
  }
}

TEST(GradNorm, ShowsNonFiniteGradients) {
  Context ctx(Device::cpu(), 1, 0);
  EXPECT_EQ(grad_norm(ctx, {}), 0.0);
  std::vector<float> grads(5000, 1.0f);
  grads[4999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(grad_norm(ctx, grads)));
  EXPECT_TRUE(std::isnan(clip_factor(grad_norm(ctx, grads), 1.0)));
  grads[4999] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(grad_norm(ctx, grads)));
}

TEST(ClipFactor, LeavesSmallNormsAlone) {
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0f);
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0f);
  EXPECT_EQ(clip_factor(1e9, 0.0), 1.0f);
  EXPECT_THROW(clip_factor(1.0, -1.0), Error);
  EXPECT_THROW(clip_factor(1.0, std::numeric_limits<double>::quiet_NaN()), Error);
}

}  // namespace
}  // namespace tessera::optim
