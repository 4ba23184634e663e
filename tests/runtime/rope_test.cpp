// Rotary embedding against transformers (plain, linear and llama3 frequencies), its inverse, and
// its promise about bits.
#include "runtime/ops/rope.h"

#include <gtest/gtest.h>

#include <bit>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

class Rope : public ::testing::Test {
 protected:
  Rope() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

RopeScaling scaling_of(const nlohmann::json& json) {
  RopeScaling s;
  if (json["rope_type"] == "default") return s;
  s.factor = json["factor"];
  s.kind = RopeScaling::Kind::kLinear;
  if (json["rope_type"] == "linear") return s;
  s.kind = RopeScaling::Kind::kLlama3;
  s.low_freq_factor = json["low_freq_factor"];
  s.high_freq_factor = json["high_freq_factor"];
  s.original_max_position = json["original_max_position_embeddings"];
  return s;
}

/// The distance of two positive floats in units of the last place.
int64_t ulps(float a, float b) {
  return std::abs(int64_t(std::bit_cast<int32_t>(a)) - int64_t(std::bit_cast<int32_t>(b)));
}

TEST_F(Rope, FrequenciesAgreeWithTransformers) {
  for (const char* name : {"rope_none", "rope_linear", "rope_llama3"}) {
    const auto golden = testing::ops_golden(name);
    const Floats expected = golden["inv_freq"];
    const Floats got = rope_frequencies(golden["head_dim"], golden["theta"].get<double>(),
                                        scaling_of(golden["scaling"]));
    ASSERT_EQ(got.size(), expected.size());
    // torch's float32 pow errs by one unit in the last place; ours is rounded once.
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(ulps(got[i], expected[i]), 2) << name << " element " << i;
    }
  }
}

TEST_F(Rope, AgreesWithTransformers) {
  for (const char* name : {"rope_none", "rope_linear", "rope_llama3"}) {
    const auto golden = testing::ops_golden(name);
    const int64_t head_dim = golden["head_dim"], half = head_dim / 2;
    Floats cos(size_t(8192 * half)), sin(cos.size());
    const Tensor c = Tensor::of(std::span(cos), {8192, half});
    const Tensor s = Tensor::of(std::span(sin), {8192, half});
    rope_table(c, s, golden["theta"].get<double>(), scaling_of(golden["scaling"]));
    std::vector<int32_t> positions = golden["positions"];
    const int64_t n = int64_t(positions.size());
    // One unit in the last place of a frequency turns position 8191 by up to 8191 * 2^-24 more.
    const double tolerance = 2e-3;
    for (int64_t i = 0; i < n; ++i) {
      const double allowed = positions[size_t(i)] < 10 ? 1e-6 : tolerance;
      const Floats cos_row = golden["cos"], sin_row = golden["sin"];
      for (int64_t j = 0; j < half; ++j) {
        EXPECT_NEAR(cos[size_t(positions[size_t(i)] * half + j)], cos_row[size_t(i * half + j)],
                    allowed);
        EXPECT_NEAR(sin[size_t(positions[size_t(i)] * half + j)], sin_row[size_t(i * half + j)],
                    allowed);
      }
    }
    Floats x = golden["x"], dy = golden["dy"];
    const Tensor p = Tensor::of(std::span(positions), {n});
    rope(ctx_, Tensor::of(std::span(x), {n, 2 * head_dim}), p, c, s);
    rope_backward(ctx_, Tensor::of(std::span(dy), {n, 2 * head_dim}), p, c, s);
    testing::expect_close(x, golden["y"], tolerance);
    testing::expect_close(dy, golden["dx"], tolerance);
  }
}

TEST_F(Rope, TurnIsTransformersBitForBitGivenItsTable) {
  const auto golden = testing::ops_golden("rope_llama3");
  Floats cos = golden["cos"], sin = golden["sin"], x = golden["x"];
  std::vector<int32_t> rows = {0, 1, 2, 3, 4};
  rope(ctx_, Tensor::of(std::span(x), {5, 128}), Tensor::of(std::span(rows), {5}),
       Tensor::of(std::span(cos), {5, 32}), Tensor::of(std::span(sin), {5, 32}));
  EXPECT_EQ(x, golden["y"].get<Floats>());
}

TEST_F(Rope, GradientIsTheDerivative) {
  const int64_t n = 4, half = 5, heads = 3, cols = heads * 2 * half;
  Floats cos(size_t(50 * half)), sin(cos.size());
  const Tensor c = Tensor::of(std::span(cos), {50, half}),
               s = Tensor::of(std::span(sin), {50, half});
  rope_table(c, s, 100.0, {});
  std::vector<int32_t> positions = {0, 3, 49, 1};
  const Tensor p = Tensor::of(std::span(positions), {n});
  Floats x = grid_values(size_t(n * cols), 1), dy = grid_values(size_t(n * cols), 2), y, dx = dy;
  const auto loss = [&] {
    y = x;
    rope(ctx_, Tensor::of(std::span(y), {n, cols}), p, c, s);
    return testing::dot(y, dy);
  };
  rope_backward(ctx_, Tensor::of(std::span(dx), {n, cols}), p, c, s);
  testing::expect_gradient(x, dx, loss);
}

TEST_F(Rope, SameBitsOnAnyThreadCountAndTarget) {
  const int64_t n = 600, half = 20, cols = 80;
  testing::expect_same_bits([&](Context& ctx) {
    Floats cos(size_t(n * half)), sin(cos.size()), x = grid_values(size_t(n * cols), 3), dx = x;
    const Tensor c = Tensor::of(std::span(cos), {n, half});
    const Tensor s = Tensor::of(std::span(sin), {n, half});
    rope_table(c, s, 10000.0, {});
    std::vector<int32_t> positions;
    for (int64_t i = 0; i < n; ++i) positions.push_back(int32_t(i * 7 % n));
    const Tensor p = Tensor::of(std::span(positions), {n});
    rope(ctx, Tensor::of(std::span(x), {n, cols}), p, c, s);
    rope_backward(ctx, Tensor::of(std::span(dx), {n, cols}), p, c, s);
    x.insert(x.end(), dx.begin(), dx.end());
    return x;
  });
}

TEST_F(Rope, RefusesPositionsBeyondTheTable) {
  Floats cos(8), sin(8), x(8);
  const Tensor c = Tensor::of(std::span(cos), {4, 2}), s = Tensor::of(std::span(sin), {4, 2});
  for (int32_t position : {-1, 4}) {
    std::vector<int32_t> positions = {0, position};
    EXPECT_THROW(
        rope(ctx_, Tensor::of(std::span(x), {2, 4}), Tensor::of(std::span(positions), {2}), c, s),
        std::logic_error);
  }
}

}  // namespace
}  // namespace tessera
