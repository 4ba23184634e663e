// The 8-bit update against bitsandbytes' published rule, bit by bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "hwy/targets.h"
#include "optim/adamw.h"
#include "optim/optimizer.h"
#include "quant/codebook.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

using Json = nlohmann::json;

std::vector<uint8_t> bytes_of_hex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(uint8_t(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::vector<uint32_t> bits_of(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (float x : values) bits.push_back(std::bit_cast<uint32_t>(x));
  return bits;
}

std::vector<uint32_t> bits_in(const Json& list) { return list.get<std::vector<uint32_t>>(); }

template <class T>
std::vector<T> state_of(const Optimizer& optimizer, const std::string& name, size_t items) {
  std::vector<T> values(items);
  optimizer.read_state(name, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

void expect_state(const Optimizer& optimizer, const Json& snapshot, size_t elements) {
  const size_t blocks = (elements + kStateBlock - 1) / kStateBlock;
  for (const auto& [name, key] : {std::pair("exp_avg", "m"), std::pair("exp_avg_sq", "v")}) {
    EXPECT_EQ(state_of<uint8_t>(optimizer, name + std::string("_codes"), elements),
              bytes_of_hex(snapshot.at(key + std::string("_codes"))));
    EXPECT_EQ(bits_of(state_of<float>(optimizer, name + std::string("_absmax"), blocks)),
              bits_in(snapshot.at(key + std::string("_absmax"))));
  }
}

std::vector<float> gradient(int step, size_t elements) {
  auto grads = golden_values(uint64_t(100 + step), elements);
  if (step <= 2) std::fill_n(grads.begin() + kStateBlock, kStateBlock, 0.0f);
  return grads;
}

Optimizer optimizer_of(size_t elements, const OptimizerOptions& options) {
  const std::vector<StateSegment> segments{{0, elements, StateBits::k8}};
  return Optimizer(adamw_rule(), segments, {0, elements}, options, {});
}

void expect_golden() {
  const auto golden = read_golden("adamw_8bit.json");
  const size_t elements = golden.at("elements");
  const int steps = golden.at("steps");
  Context ctx(Device::cpu(), 2, 0);
  ASSERT_EQ(golden.at("cases").size(), 2u);
  for (const auto& c : golden.at("cases")) {
    Optimizer optimizer = optimizer_of(elements, {.beta1 = c.at("beta1"),
                                                  .beta2 = c.at("beta2"),
                                                  .eps = c.at("eps"),
                                                  .weight_decay = c.at("weight_decay")});
    auto params = golden_values(1, elements);
    size_t next = 0;
    for (int step = 1; step <= steps; ++step) {
      const double lr = double(c.at("learning_rate")) * step / steps;
      optimizer.step(ctx, params, gradient(step, elements), lr, c.at("grad_scale"));
      const auto& snapshot = c.at("snapshots").at(next);
      if (snapshot.at("step") != step) continue;
      ++next;
      EXPECT_EQ(bits_of(params), bits_in(snapshot.at("params")));
      expect_state(optimizer, snapshot, elements);
      if (!snapshot.contains("bitsandbytes_params")) continue;
      // Its CPU path decays first and has 1 - beta in double, which moves v by 5e-5 of itself.
      const auto theirs = bits_in(snapshot.at("bitsandbytes_params"));
      for (size_t i = 0; i < elements; ++i) {
        EXPECT_NEAR(params[i], std::bit_cast<float>(theirs[i]), lr * 1e-3);
      }
    }
    EXPECT_EQ(next, c.at("snapshots").size());
  }
}

TEST(AdamW8bit, FollowsThePublishedRule) { expect_golden(); }

TEST(AdamW8bit, FollowsThePublishedRuleOnAvx2) {
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  expect_golden();
  hwy::SetSupportedTargetsForTest(0);
}

TEST(AdamW8bit, LeavesOutGradientsThatAreNotFinite) {
  const auto golden = read_golden("adamw_8bit.json");
  const size_t elements = golden.at("elements");
  Context ctx(Device::cpu(), 1, 0);
  Optimizer optimizer = optimizer_of(elements, {.weight_decay = 0.1});
  auto params = golden_values(1, elements);
  optimizer.step(ctx, params, gradient(3, elements), 1e-2, 1.0f);
  auto grads = gradient(4, elements);
  grads[5] = std::numeric_limits<float>::quiet_NaN();
  grads[300] = std::numeric_limits<float>::infinity();
  grads[599] = -std::numeric_limits<float>::infinity();
  optimizer.step(ctx, params, grads, 1e-2, 1.0f);
  EXPECT_EQ(bits_of(params), bits_in(golden.at("not_finite").at("params")));
  expect_state(optimizer, golden.at("not_finite"), elements);
}

/// The entries of a map, then the points at, next below and next above every midpoint.
std::vector<float> points_of(std::span<const float> entries) {
  std::vector<float> points(entries.begin(), entries.end());
  const auto add_midpoints = [&](float toward) {
    for (size_t i = 0; i + 1 < entries.size(); ++i) {
      const float middle = (entries[i] + entries[i + 1]) * 0.5f;
      points.push_back(toward == 0 ? middle : std::nextafter(middle, toward));
    }
  };
  for (float toward : {0.0f, -2.0f, 2.0f}) add_midpoints(toward);
  return points;
}

/// With these scalars m is the gradient, and v is its old value + one_minus_beta2 * gradient^2.
AdamW8bitScalars identity() {
  return {.grad_scale = 1,
          .beta1 = 0,
          .one_minus_beta1 = 1,
          .beta2 = 1,
          .one_minus_beta2 = 0,
          .minus_step_size = 0,
          .eps = 1,
          .decay = 1};
}

TEST(AdamW8bit, CodesOfTheFirstMomentAreTheNearestEntries) {
  const auto expected = bytes_of_hex(read_golden("adamw_8bit.json").at("codes").at("signed"));
  const auto points = points_of(quant::kDynamicSigned);
  ASSERT_EQ(points.size(), expected.size());
  for (size_t i = 0; i < points.size(); ++i) {
    float params[2] = {}, absmax[2] = {};
    uint8_t m_codes[kStateBlock] = {}, v_codes[kStateBlock] = {};
    const float grads[2] = {points[i], 1.0f};
    cpu::adamw_8bit(identity(), params, grads, {m_codes, v_codes, &absmax[0], &absmax[1]});
    EXPECT_EQ(int(m_codes[0]), int(expected[i])) << points[i];
  }
}

TEST(AdamW8bit, CodesOfTheSecondMomentAreTheNearestEntries) {
  const auto expected = bytes_of_hex(read_golden("adamw_8bit.json").at("codes").at("unsigned"));
  const auto points = points_of(quant::kDynamicUnsigned);
  ASSERT_EQ(points.size(), expected.size());
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i] < 0) continue;
    float params[2] = {}, m_absmax = 0, v_absmax = 1;
    uint8_t m_codes[kStateBlock] = {}, v_codes[kStateBlock] = {0, 255};
    const float grads[2] = {1.0f, 0.0f};
    AdamW8bitScalars scalars = identity();
    scalars.one_minus_beta2 = points[i];
    cpu::adamw_8bit(scalars, params, grads, {m_codes, v_codes, &m_absmax, &v_absmax});
    EXPECT_EQ(int(v_codes[0]), int(expected[i])) << points[i];
    EXPECT_EQ(int(v_codes[1]), 255);
  }
}

TEST(AdamW8bit, PaddingStaysZero) {
  Context ctx(Device::cpu(), 1, 0);
  const size_t elements = 2 * kStateBlock;
  Optimizer optimizer = optimizer_of(elements, {.weight_decay = 0.1});
  auto params = golden_values(1, elements);
  const auto clear = [](std::vector<float>& values) {
    std::fill(values.begin() + 300, values.end(), 0.0f);
  };
  clear(params);
  for (int step = 1; step <= 3; ++step) {
    auto grads = gradient(step, elements);
    clear(grads);
    optimizer.step(ctx, params, grads, 1e-2, 0.5f);
  }
  for (size_t i = 300; i < elements; ++i) EXPECT_EQ(std::bit_cast<uint32_t>(params[i]), 0u);
}

}  // namespace
}  // namespace tessera::optim
