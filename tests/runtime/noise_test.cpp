// Noise against its scalar rule and the moments of the distribution, and its promise about bits.
#include "runtime/ops/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

constexpr DropoutKey kKey{0x123456789abcdef0u, 7, 3, 11, 2};

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Noise : public ::testing::Test {
 protected:
  Noise() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Floats noise(const DropoutKey& key, size_t n, float bound) {
    Floats x(n);
    add_noise(ctx_, flat(x), key, bound);
    return x;
  }
  Context ctx_;
};

TEST_F(Noise, FollowsTheScalarRule) {
  const float bound = 0.3f;
  for (size_t n : {1u, 17u, 63u, 64u, 40001u}) {
    const Floats before = grid_values(n, 1);
    Floats x = before;
    add_noise(ctx_, flat(x), kKey, bound);
    for (size_t e = 0; e < n; ++e) {
      const PhiloxCounter random = philox(dropout_counter(kKey, e / 4), dropout_key(kKey));
      const float product = noise_of(random.word[e % 4]) * bound;
      ASSERT_EQ(x[e], before[e] + product) << "element " << e;
    }
  }
}

TEST_F(Noise, IsUniformBetweenItsBounds) {
  const size_t n = 200000;
  const double bound = 0.25;
  double sum = 0, squares = 0, least = 1, most = -1;
  for (float v : noise(kKey, n, float(bound))) {
    sum += double(v);
    squares += double(v) * double(v);
    least = std::min(least, double(v));
    most = std::max(most, double(v));
  }
  const double variance = bound * bound / 3;
  EXPECT_NEAR(sum / double(n), 0.0, 5 * std::sqrt(variance / double(n)));
  // The fourth moment is bound^4 / 5.
  EXPECT_NEAR(squares / double(n), variance,
              5 * bound * bound * std::sqrt((1.0 / 5 - 1.0 / 9) / double(n)));
  EXPECT_GE(least, -bound);
  EXPECT_LT(least, -bound * 0.9999);
  EXPECT_LT(most, bound);
  EXPECT_GT(most, bound * 0.9999);
  EXPECT_EQ(noise_of(0), -1.0f);
  EXPECT_LT(noise_of(0xffffffffu), 1.0f);
}

TEST_F(Noise, EveryPartOfTheKeyMatters) {
  const Floats original = noise(kKey, 256, 1.0f);
  EXPECT_EQ(original, noise(kKey, 256, 1.0f));
  DropoutKey keys[] = {kKey, kKey, kKey, kKey, kKey, kKey};
  keys[0].seed ^= 1;
  keys[1].seed ^= uint64_t{1} << 40;
  keys[2].step += 1;
  keys[3].micro_batch += 1;
  keys[4].layer += 1;
  keys[5].site += 1;
  for (const DropoutKey& key : keys) EXPECT_NE(original, noise(key, 256, 1.0f));
}

TEST_F(Noise, SameBitsOnAnyThreadCountAndTarget) {
  testing::expect_same_bits([](Context& ctx) {
    Floats x = grid_values(100003, 4);
    add_noise(ctx, flat(x), kKey, 0.1f);
    return x;
  });
}

TEST_F(Noise, RefusesWhatTheKeyCannotHoldAndBoundsThatAreNone) {
  Floats x(4);
  DropoutKey late = kKey;
  late.step = uint64_t{1} << 32;
  EXPECT_THROW(add_noise(ctx_, flat(x), late, 0.5f), std::logic_error);
  for (float bound : {-0.1f, NAN, std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(add_noise(ctx_, flat(x), kKey, bound), std::logic_error);
  }
}

}  // namespace
}  // namespace tessera
