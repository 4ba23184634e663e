// Draws are counted against the probabilities they should have.
#include "launch/run/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

constexpr int kDraws = 40000;

/// Probabilities 0.4, 0.1, 0.3, 0.2 at temperature 1.
std::vector<float> four_logits() {
  std::vector<float> logits;
  for (double p : {0.4, 0.1, 0.3, 0.2}) logits.push_back(float(std::log(p)) + 3.0f);
  return logits;
}

std::array<double, 4> shares(const SamplerOptions& options) {
  Sampler sampler(options);
  const std::vector<float> logits = four_logits();
  std::array<double, 4> count{};
  for (int i = 0; i < kDraws; ++i) {
    count[size_t(sampler.pick(logits, uint64_t(i % 7), uint64_t(i)))] += 1.0 / kDraws;
  }
  return count;
}

/// Four standard deviations of a share; the seed is fixed, so this never fails by chance.
void expect_shares(const std::array<double, 4>& expected, const SamplerOptions& options) {
  const std::array<double, 4> found = shares(options);
  for (size_t i = 0; i < 4; ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(found[i], 0) << i;
    } else {
      EXPECT_NEAR(found[i], expected[i], 4 * std::sqrt(expected[i] / kDraws)) << i;
    }
  }
}

TEST(Sampler, DrawsAsLikelyAsTheModelSays) {
  expect_shares({0.4, 0.1, 0.3, 0.2}, {.temperature = 1});
}

TEST(Sampler, TemperatureIsTheDivisorOfLogits) {
  // Temperature 1/2 squares the probabilities.
  const double sum = 0.16 + 0.01 + 0.09 + 0.04;
  expect_shares({0.16 / sum, 0.01 / sum, 0.09 / sum, 0.04 / sum}, {.temperature = 0.5});
  expect_shares({1, 0, 0, 0}, {.temperature = 1e-3});
  expect_shares({1, 0, 0, 0}, {.temperature = 1e-300});
  expect_shares({0.25, 0.25, 0.25, 0.25}, {.temperature = 1e9});
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  expect_shares({1, 0, 0, 0}, {.temperature = 1, .top_k = 1});
  expect_shares({0.4 / 0.7, 0, 0.3 / 0.7, 0}, {.temperature = 1, .top_k = 2});
  expect_shares({0.4, 0.1, 0.3, 0.2}, {.temperature = 1, .top_k = 4});
  expect_shares({0.4, 0.1, 0.3, 0.2}, {.temperature = 1, .top_k = 1000});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  expect_shares({1, 0, 0, 0}, {.temperature = 1, .top_p = 1e-9});
  expect_shares({1, 0, 0, 0}, {.temperature = 1, .top_p = 0.39});
  expect_shares({0.4 / 0.7, 0, 0.3 / 0.7, 0}, {.temperature = 1, .top_p = 0.69});
  expect_shares({0.4 / 0.9, 0, 0.3 / 0.9, 0.2 / 0.9}, {.temperature = 1, .top_p = 0.8});
  expect_shares({0.4, 0.1, 0.3, 0.2}, {.temperature = 1, .top_p = 0.95});
}

/// Of the three that top_k keeps, 0.4 and 0.3 are 7/9 and reach 0.75; of all they are only 0.7.
TEST(Sampler, TopKComesBeforeTopP) {
  expect_shares({0.4 / 0.7, 0, 0.3 / 0.7, 0}, {.temperature = 1, .top_p = 0.75, .top_k = 3});
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler sampler({});
  EXPECT_EQ(sampler.pick(std::vector<float>{-1, 5, 2, 5}, 0, 0), 1);
  EXPECT_EQ(sampler.pick(std::vector<float>{-3}, 9, 9), 0);
}

TEST(Sampler, ADrawDependsOnSeedSequenceAndPositionAlone) {
  const std::vector<float> logits(1000, 0.0f);
  Sampler first({.temperature = 1, .seed = 5}), second({.temperature = 1, .seed = 5});
  const int32_t drawn = first.pick(logits, 3, 17);
  second.pick(logits, 0, 0);
  EXPECT_EQ(second.pick(logits, 3, 17), drawn);
  EXPECT_NE(second.pick(logits, 4, 17), drawn);
  EXPECT_NE(second.pick(logits, 3, 18), drawn);
  EXPECT_NE(Sampler({.temperature = 1, .seed = 6}).pick(logits, 3, 17), drawn);
}

TEST(Sampler, RefusesWhatHasNoMeaning) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (double t : {-1.0, kNan, kInf}) {
    expect_error([&] { Sampler({.temperature = t}); }, "--temperature");
  }
  for (double p : {0.0, -0.5, 1.5, kNan}) {
    expect_error([&] { Sampler({.temperature = 1, .top_p = p}); }, "--top_p");
  }
  expect_error([] { Sampler({.top_k = -1}); }, "--top_k");
  Sampler sampler({});
  const std::vector<float> broken = {0, std::numeric_limits<float>::quiet_NaN()};
  expect_error([&] { sampler.pick(broken, 0, 4); }, "token 1", "nan", "position 4");
}

}  // namespace
}  // namespace tessera::launch
