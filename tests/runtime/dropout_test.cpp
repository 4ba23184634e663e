// Philox against the published known answers, and a dropout mask that depends on its key alone.
#include "runtime/ops/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

constexpr DropoutKey kKey{0x123456789abcdef0u, 7, 3, 11, 2};

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Dropout : public ::testing::Test {
 protected:
  Dropout() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Floats mask(const DropoutKey& key, size_t n, float p) {
    Floats ones(n, 1.0f);
    dropout(ctx_, flat(ones), flat(ones), key, p);
    return ones;
  }
  Context ctx_;
};

TEST(Philox, GivesThePublishedAnswers) {
  // philox4x32-10 in the known-answer file of the Random123 library.
  const struct {
    PhiloxCounter counter;
    PhiloxKey key;
    PhiloxCounter answer;
  } cases[] = {
      {{{0, 0, 0, 0}}, {{0, 0}}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {{0xffffffff, 0xffffffff}},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {{0xa4093822, 0x299f31d0}},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const auto& c : cases) {
    const PhiloxCounter got = philox(c.counter, c.key);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(got.word[i], c.answer.word[i]);
  }
}

TEST_F(Dropout, FollowsTheScalarRule) {
  const float p = 0.3f;
  for (size_t n : {1u, 17u, 63u, 64u, 40001u}) {
    Floats x = grid_values(n, 1), y(n);
    dropout(ctx_, flat(y), flat(x), kKey, p);
    for (size_t e = 0; e < n; ++e) {
      const PhiloxCounter random = philox(dropout_counter(kKey, e / 4), dropout_key(kKey));
      const bool keep = double(random.word[e % 4]) >= double(p) * 0x1p32;
      ASSERT_EQ(y[e], keep ? x[e] * float(1 / (1 - double(p))) : 0.0f) << "element " << e;
    }
  }
}

TEST_F(Dropout, DropsTheShareAskedFor) {
  const size_t n = 200000;
  for (float p : {0.0f, 0.1f, 0.5f, 0.9f}) {
    size_t dropped = 0;
    double sum = 0;
    for (float v : mask(kKey, n, p)) {
      dropped += v == 0.0f;
      sum += double(v);
    }
    const double deviation = std::sqrt(double(p) * (1 - double(p)) / double(n));
    EXPECT_NEAR(double(dropped) / double(n), p, 5 * deviation);
    EXPECT_NEAR(sum / double(n), 1.0, 5 * deviation / (1 - double(p)) + 1e-6);
  }
}

TEST_F(Dropout, EveryPartOfTheKeyMatters) {
  const Floats original = mask(kKey, 256, 0.5f);
  EXPECT_EQ(original, mask(kKey, 256, 0.5f));
  DropoutKey keys[] = {kKey, kKey, kKey, kKey, kKey, kKey};
  keys[0].seed ^= 1;
  keys[1].seed ^= uint64_t{1} << 40;
  keys[2].step += 1;
  keys[3].micro_batch += 1;
  keys[4].layer += 1;
  keys[5].site += 1;
  for (const DropoutKey& key : keys) EXPECT_NE(original, mask(key, 256, 0.5f));
}

TEST_F(Dropout, AShorterTensorHasTheSameMask) {
  const Floats longer = mask(kKey, 70000, 0.5f), shorter = mask(kKey, 40021, 0.5f);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), longer.begin()));
}

TEST_F(Dropout, GradientIsTheDerivativeAndAccumulates) {
  const size_t n = 50;
  Floats x = grid_values(n, 2), dy = grid_values(n, 3), y(n), dx(n, 1.0f);
  const auto loss = [&] {
    dropout(ctx_, flat(y), flat(x), kKey, 0.25f);
    return testing::dot(y, dy);
  };
  dropout_backward(ctx_, flat(dx), flat(dy), kKey, 0.25f);
  for (float& v : dx) v -= 1.0f;
  testing::expect_gradient(x, dx, loss);
}

TEST_F(Dropout, SameBitsOnAnyThreadCountAndTarget) {
  testing::expect_same_bits([](Context& ctx) {
    Floats x = grid_values(100003, 4), dx(x.size(), 0.5f);
    dropout_backward(ctx, flat(dx), flat(x), kKey, 0.1f);
    dropout(ctx, flat(x), flat(x), kKey, 0.1f);
    x.insert(x.end(), dx.begin(), dx.end());
    return x;
  });
}

TEST_F(Dropout, RefusesWhatTheKeyCannotHold) {
  Floats x(4);
  for (float p : {-0.1f, 1.0f, NAN}) {
    EXPECT_THROW(dropout(ctx_, flat(x), flat(x), kKey, p), std::logic_error);
  }
  DropoutKey keys[] = {kKey, kKey, kKey, kKey};
  keys[0].step = uint64_t{1} << 32;
  keys[1].micro_batch = uint64_t{1} << 32;
  keys[2].layer = 1 << 16;
  keys[3].site = 1 << 8;
  for (const DropoutKey& key : keys) {
    EXPECT_THROW(dropout(ctx_, flat(x), flat(x), key, 0.5f), std::logic_error);
  }
}

}  // namespace
}  // namespace tessera
