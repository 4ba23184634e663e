// Rotary embedding against transformers (all kinds of frequencies, both kinds of pairs, heads of
// which a part turns), its inverse, and its promise about bits.
#include "runtime/ops/rope.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

class Rotary : public ::testing::Test {
 protected:
  Rotary() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

RopeScaling scaling_of(const nlohmann::json& json, int64_t longest) {
  using Kind = RopeScaling::Kind;
  const std::map<std::string, Kind> kinds = {
      {"default", Kind::kNone},  {"linear", Kind::kLinear}, {"dynamic", Kind::kDynamic},
      {"llama3", Kind::kLlama3}, {"yarn", Kind::kYarn},     {"longrope", Kind::kLongrope}};
  RopeScaling s;
  s.kind = kinds.at(json["rope_type"]);
  s.factor = json.value("factor", s.factor);
  s.low_freq_factor = json.value("low_freq_factor", s.low_freq_factor);
  s.high_freq_factor = json.value("high_freq_factor", s.high_freq_factor);
  s.original_max_position = json.value("original_max_position_embeddings", longest);
  s.beta_fast = json.value("beta_fast", s.beta_fast);
  s.beta_slow = json.value("beta_slow", s.beta_slow);
  s.truncate = json.value("truncate", s.truncate);
  s.short_factors = json.value("short_factor", s.short_factors);
  s.long_factors = json.value("long_factor", s.long_factors);
  return s;
}

Rope rope_of(const nlohmann::json& golden) {
  return {.dims = golden["head_dim"],
          .theta = golden["theta"],
          .scaling = scaling_of(golden["scaling"], 131072)};
}

/// A table of host memory.
struct Table {
  Table(const Rope& rope, int64_t rows, const RopePositions& positions)
      : Table(Floats(size_t(rows * rope.half())), Floats(size_t(rows * rope.half())), rows) {
    rope_table(cos, sin, rope, positions);
  }
  Table(Floats cosines, Floats sines, int64_t rows)
      : cosines(std::move(cosines)), sines(std::move(sines)) {
    cos = Tensor::of(std::span(this->cosines), {rows, int64_t(this->cosines.size()) / rows});
    sin = Tensor::of(std::span(this->sines), {rows, int64_t(this->sines.size()) / rows});
  }
  Floats cosines, sines;
  Tensor cos, sin;
};

/// The distance of two positive floats in units of the last place.
int64_t ulps(float a, float b) {
  return std::abs(int64_t(std::bit_cast<int32_t>(a)) - int64_t(std::bit_cast<int32_t>(b)));
}

TEST_F(Rotary, FrequenciesAgreeWithTransformers) {
  for (const char* name : {"rope_none", "rope_linear", "rope_llama3"}) {
    const auto golden = testing::ops_golden(name);
    const Floats expected = golden["inv_freq"];
    const Floats got = rope_frequencies(rope_of(golden), 1);
    ASSERT_EQ(got.size(), expected.size());
    // torch's float32 pow errs by one unit in the last place; ours is rounded once.
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(ulps(got[i], expected[i]), 2) << name << " element " << i;
    }
  }
}

TEST_F(Rotary, EveryRuleIsTransformersBitForBit) {
  for (const nlohmann::json& golden : testing::ops_golden("rope_rules")) {
    const nlohmann::json& parameters = golden["parameters"];
    const double turned =
        golden["head_dim"].get<double>() * parameters["partial_rotary_factor"].get<double>();
    const Rope rule{.dims = int64_t(turned),
                    .theta = parameters["rope_theta"],
                    .scaling = scaling_of(parameters, golden["longest"]),
                    .attention_factor = golden["attention_factor"]};
    const int64_t length = golden["length"], half = rule.half();
    SCOPED_TRACE(golden["name"].get<std::string>());
    EXPECT_EQ(rope_frequencies(rule, length), golden["inv_freq"].get<Floats>());
    const Floats cos = golden["cos"], sin = golden["sin"];
    ASSERT_EQ(int64_t(cos.size()), 4 * half);
    const Table table(rule, length, {length});
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t position = golden["positions"][size_t(i)];
      for (int64_t j = 0; j < half; ++j) {
        EXPECT_EQ(table.cosines[size_t(position * half + j)], cos[size_t(i * half + j)]) << i << j;
        EXPECT_EQ(table.sines[size_t(position * half + j)], sin[size_t(i * half + j)]) << i << j;
      }
    }
  }
}

TEST_F(Rotary, ATableMayBeginAnywhere) {
  const Rope rule{
      .dims = 6,
      .scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 2.0, .original_max_position = 8}};
  const Table all(rule, 20, {.length = 20}), end(rule, 3, {.length = 20, .first = 17});
  EXPECT_EQ(end.cosines, Floats(all.cosines.end() - 9, all.cosines.end()));
  EXPECT_EQ(end.sines, Floats(all.sines.end() - 9, all.sines.end()));
  const Table shorter(rule, 3, {.length = 9});
  EXPECT_NE(shorter.cosines, Floats(all.cosines.begin(), all.cosines.begin() + 9));
}

TEST_F(Rotary, QueriesGrowWithTheirPositions) {
  const Rope rule{.dims = 2, .query_growth = 0.5, .query_period = 4};
  const Table keys(rule, 13, {.length = 13});
  const Table queries(rule, 13, {.length = 13, .of_queries = true});
  for (size_t i = 0; i < 13; ++i) {
    const double growth = 1 + 0.5 * std::log(1 + double(i / 4));
    EXPECT_FLOAT_EQ(queries.cosines[i], float(keys.cosines[i] * growth)) << i;
    EXPECT_FLOAT_EQ(queries.sines[i], float(keys.sines[i] * growth)) << i;
  }
}

TEST_F(Rotary, AgreesWithTransformers) {
  for (const char* name : {"rope_none", "rope_linear", "rope_llama3"}) {
    const auto golden = testing::ops_golden(name);
    const int64_t head_dim = golden["head_dim"], half = head_dim / 2;
    const Table table(rope_of(golden), 8192, {8192});
    const Floats &cos = table.cosines, &sin = table.sines;
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
    const RopeTurn turn{Tensor::of(std::span(positions), {n}), table.cos, table.sin, head_dim,
                        false};
    rope(ctx_, Tensor::of(std::span(x), {n, 2 * head_dim}), turn);
    rope_backward(ctx_, Tensor::of(std::span(dy), {n, 2 * head_dim}), turn);
    testing::expect_close(x, golden["y"], tolerance);
    testing::expect_close(dy, golden["dx"], tolerance);
  }
}

TEST_F(Rotary, TurnIsTransformersBitForBitGivenItsTable) {
  std::vector<int32_t> rows = {0, 1, 2, 3, 4};
  for (const char* name : {"rope_llama3", "rope_partial", "rope_neighbours"}) {
    SCOPED_TRACE(name);
    const auto golden = testing::ops_golden(name);
    const Table table(golden["cos"], golden["sin"], 5);
    const int64_t head_dim = golden["head_dim"];
    const RopeTurn turn{Tensor::of(std::span(rows), {5}), table.cos, table.sin, head_dim,
                        std::string(name) == "rope_neighbours"};
    Floats x = golden["x"], dy = golden["dy"];
    rope(ctx_, Tensor::of(std::span(x), {5, 2 * head_dim}), turn);
    EXPECT_EQ(x, golden["y"].get<Floats>());
    rope_backward(ctx_, Tensor::of(std::span(dy), {5, 2 * head_dim}), turn);
    testing::expect_close(dy, golden["dx"], 1e-6);
  }
}

/// Heads of ten elements all of which turn, and of thirteen of which ten turn.
TEST_F(Rotary, GradientIsTheDerivative) {
  const int64_t n = 4, heads = 3;
  const Table table({.dims = 10, .theta = 100.0}, 50, {50});
  std::vector<int32_t> positions = {0, 3, 49, 1};
  for (int64_t head_dim : {10, 13}) {
    for (bool interleaved : {false, true}) {
      const int64_t cols = heads * head_dim;
      const RopeTurn turn{Tensor::of(std::span(positions), {n}), table.cos, table.sin, head_dim,
                          interleaved};
      Floats x = grid_values(size_t(n * cols), 1), dy = grid_values(size_t(n * cols), 2), y;
      Floats dx = dy;
      const auto loss = [&] {
        y = x;
        rope(ctx_, Tensor::of(std::span(y), {n, cols}), turn);
        return testing::dot(y, dy);
      };
      rope_backward(ctx_, Tensor::of(std::span(dx), {n, cols}), turn);
      testing::expect_gradient(x, dx, loss);
    }
  }
}

TEST_F(Rotary, SameBitsOnAnyThreadCountAndTarget) {
  const int64_t n = 600, cols = 92;
  for (bool interleaved : {false, true}) {
    testing::expect_same_bits([&](Context& ctx) {
      const Table table({.dims = 40}, n, {n});
      Floats x = grid_values(size_t(n * cols), 3), dx = x;
      std::vector<int32_t> positions;
      for (int64_t i = 0; i < n; ++i) positions.push_back(int32_t(i * 7 % n));
      const RopeTurn turn{Tensor::of(std::span(positions), {n}), table.cos, table.sin, 46,
                          interleaved};
      rope(ctx, Tensor::of(std::span(x), {n, cols}), turn);
      rope_backward(ctx, Tensor::of(std::span(dx), {n, cols}), turn);
      x.insert(x.end(), dx.begin(), dx.end());
      return x;
    });
  }
}

TEST_F(Rotary, RefusesPositionsBeyondTheTableAndNarrowHeads) {
  const Table table(Floats(8), Floats(8), 4);
  Floats x(8);
  const auto turned = [&](int32_t position, int64_t head_dim) {
    std::vector<int32_t> positions = {0, position};
    rope(ctx_, Tensor::of(std::span(x), {2, 4}),
         {Tensor::of(std::span(positions), {2}), table.cos, table.sin, head_dim, false});
  };
  EXPECT_THROW(turned(-1, 4), std::logic_error);
  EXPECT_THROW(turned(4, 4), std::logic_error);
  EXPECT_THROW(turned(1, 2), std::logic_error);
  turned(3, 4);
}

}  // namespace
}  // namespace tessera
