// AdamW against torch.optim.AdamW, bit by bit, and its promises about bits and bad input.
#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "hwy/targets.h"
#include "optim/optimizer.h"
#include "runtime/core/error.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

std::vector<uint32_t> bits_of(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (float x : values) bits.push_back(std::bit_cast<uint32_t>(x));
  return bits;
}

OptimizerOptions options_of(const nlohmann::json& c) {
  return {.beta1 = c.at("beta1"),
          .beta2 = c.at("beta2"),
          .eps = c.at("eps"),
          .weight_decay = c.at("weight_decay")};
}

Optimizer resident(size_t elements, const OptimizerOptions& options) {
  const std::vector<StateSegment> segments{{0, elements, StateBits::k32}};
  return Optimizer(adamw_rule(), segments, {0, elements}, options, {});
}

std::vector<float> moment(const Optimizer& optimizer, const char* name) {
  std::vector<float> values(optimizer.size());
  optimizer.read_state(name, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

TEST(AdamW, HasTorchsBits) {
  const auto golden = read_golden("adamw.json");
  const size_t elements = golden.at("elements");
  const int steps = golden.at("steps");
  Context ctx(Device::cpu(), 2, 0);
  for (const auto& c : golden.at("cases")) {
    Optimizer optimizer = resident(elements, options_of(c));
    auto params = golden_values(1, elements);
    size_t next = 0;
    for (int step = 1; step <= steps; ++step) {
      const double lr = double(c.at("learning_rate")) * step / steps;
      optimizer.step(ctx, params, golden_values(uint64_t(100 + step), elements), lr,
                     c.at("grad_scale"));
      const auto& snapshot = c.at("snapshots").at(next);
      if (snapshot.at("step") != step) continue;
      ++next;
      EXPECT_EQ(bits_of(moment(optimizer, "exp_avg")),
                snapshot.at("m").get<std::vector<uint32_t>>());
      EXPECT_EQ(bits_of(moment(optimizer, "exp_avg_sq")),
                snapshot.at("v").get<std::vector<uint32_t>>());
      EXPECT_EQ(bits_of(params), snapshot.at("params").get<std::vector<uint32_t>>());
    }
    EXPECT_EQ(next, c.at("snapshots").size());
    EXPECT_EQ(optimizer.steps_taken(), steps);
    // Torch with its own square root, one unit in the last place off, moves a step by 2^-23 of it.
    const auto untouched = c.at("untouched_params").get<std::vector<uint32_t>>();
    for (size_t i = 0; i < elements; ++i) {
      EXPECT_NEAR(params[i], std::bit_cast<float>(untouched[i]), 4e-7f);
    }
  }
}

/// Three steps over `n` elements, split into slices of `slice` elements with a state each.
std::vector<float> three_steps(size_t n, int threads, size_t slice) {
  Context ctx(Device::cpu(), threads, 0);
  auto params = golden_values(1, n);
  for (size_t begin = 0; begin < n; begin += slice) {
    const size_t count = std::min(slice, n - begin);
    Optimizer optimizer = resident(count, {.weight_decay = 0.1});
    for (uint64_t step = 1; step <= 3; ++step) {
      const auto grads = golden_values(100 + step, n);
      optimizer.step(ctx, std::span(params).subspan(begin, count),
                     std::span(grads).subspan(begin, count), 1e-2, 0.5f);
    }
  }
  return params;
}

TEST(AdamW, SameBitsOnAnyThreadCountTargetAndSlicing) {
  const size_t n = 150001;
  const auto expected = bits_of(three_steps(n, 1, n));
  EXPECT_EQ(bits_of(three_steps(n, 3, n)), expected);
  EXPECT_EQ(bits_of(three_steps(n, 2, 1000)), expected);
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  EXPECT_EQ(bits_of(three_steps(n, 2, n)), expected);
  hwy::SetSupportedTargetsForTest(0);
}

TEST(AdamW, ContinuesFromSavedState) {
  const size_t n = 100;
  Context ctx(Device::cpu(), 1, 0);
  Optimizer straight = resident(n, {});
  auto params = golden_values(1, n);
  straight.step(ctx, params, golden_values(101, n), 1e-2, 1.0f);
  auto resumed_params = params;
  Optimizer resumed = resident(n, {});
  for (const char* name : {"exp_avg", "exp_avg_sq"}) {
    const std::vector<float> values = moment(straight, name);
    resumed.write_state(name, 0, std::as_bytes(std::span(values)));
  }
  resumed.set_steps_taken(straight.steps_taken());
  for (uint64_t stream : {102, 103}) {
    straight.step(ctx, params, golden_values(stream, n), 1e-2, 1.0f);
    resumed.step(ctx, resumed_params, golden_values(stream, n), 1e-2, 1.0f);
  }
  EXPECT_EQ(bits_of(resumed_params), bits_of(params));
}

TEST(AdamW, PaddingStaysZero) {
  Context ctx(Device::cpu(), 1, 0);
  Optimizer optimizer = resident(16, {.weight_decay = 0.1});
  std::vector<float> params(16), grads(16);
  optimizer.step(ctx, params, grads, 1e-2, 1.0f);
  EXPECT_EQ(params, std::vector<float>(16));
}

TEST(AdamW, RefusesImpossibleSettings) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(resident(1, {.beta1 = 1.0}), Error);
  EXPECT_THROW(resident(1, {.beta2 = -0.1}), Error);
  EXPECT_THROW(resident(1, {.beta2 = nan}), Error);
  EXPECT_THROW(resident(1, {.eps = -1.0}), Error);
  EXPECT_THROW(resident(1, {.weight_decay = std::numeric_limits<double>::infinity()}), Error);
  Context ctx(Device::cpu(), 1, 0);
  Optimizer optimizer = resident(1, {});
  std::vector<float> one(1);
  EXPECT_THROW(optimizer.step(ctx, one, one, nan, 1.0f), Error);
  EXPECT_THROW(optimizer.step(ctx, one, one, -1e-3, 1.0f), Error);
  EXPECT_THROW(optimizer.set_steps_taken(-1), Error);
  EXPECT_EQ(optimizer.steps_taken(), 0);
  std::vector<float> two(2);
  EXPECT_THROW(optimizer.step(ctx, two, one, 1e-3, 1.0f), std::logic_error);
}

}  // namespace
}  // namespace tessera::optim
