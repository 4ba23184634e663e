// Attention against a double-precision sum over whole rows, and its promises about bits.
#include "runtime/ops/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "hwy/targets.h"
#include "runtime/io/json.h"
#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Floats random_floats(int64_t n, uint32_t seed, float size = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, size);
  Floats v(static_cast<size_t>(n));
  for (float& x : v) x = normal(rng);
  return v;
}

struct RealContext : Context {
  explicit RealContext(int threads) : Context(Device::cpu(), threads, 0) {
    testing::give_scratch(*this);
  }
};

struct Case {
  AttentionShape shape;
  std::vector<int32_t> starts;
  Floats q, k, v, dout;

  int64_t tokens() const { return starts.back(); }
  int64_t q_cols() const { return shape.heads * shape.head_dim; }
  int64_t kv_cols() const { return shape.kv_heads * shape.head_dim; }
  AttentionInput input(AttentionSamples& samples) const {
    return {Tensor::of(std::span(q), {tokens(), q_cols()}),
            Tensor::of(std::span(k), {tokens(), kv_cols()}),
            Tensor::of(std::span(v), {tokens(), kv_cols()}), samples, shape};
  }
};

Case make_case(int64_t heads, int64_t kv_heads, int64_t head_dim, std::vector<int64_t> lengths,
               float size = 1.0f) {
  Case c;
  c.shape = {heads, kv_heads, head_dim, 1.0f / std::sqrt(float(head_dim))};
  c.starts = {0};
  for (int64_t n : lengths) c.starts.push_back(c.starts.back() + int32_t(n));
  c.q = random_floats(c.tokens() * c.q_cols(), 1, size);
  c.k = random_floats(c.tokens() * c.kv_cols(), 2, size);
  c.v = random_floats(c.tokens() * c.kv_cols(), 3);
  c.dout = random_floats(c.tokens() * c.q_cols(), 4);
  return c;
}

struct Result {
  Floats out, lse, dq, dk, dv;
  bool operator==(const Result&) const = default;
};

Result run(const Case& c, int threads) {
  RealContext ctx(threads);
  // Outputs start as NaN: what is not written shows.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Result r{Floats(c.q.size(), nan), Floats(size_t(c.shape.heads * c.tokens()), nan),
           Floats(c.q.size(), nan), Floats(c.k.size(), nan), Floats(c.v.size(), nan)};
  const Tensor out = Tensor::of(std::span(r.out), {c.tokens(), c.q_cols()});
  const Tensor lse = Tensor::of(std::span(r.lse), {c.shape.heads, c.tokens()});
  const Tensor dout = Tensor::of(std::span(c.dout), {c.tokens(), c.q_cols()});
  AttentionSamples samples(ctx, ctx.scratch(), c.starts, 2);
  attention(ctx, out, lse, c.input(samples));
  const AttentionGrads grads{Tensor::of(std::span(r.dq), {c.tokens(), c.q_cols()}),
                             Tensor::of(std::span(r.dk), {c.tokens(), c.kv_cols()}),
                             Tensor::of(std::span(r.dv), {c.tokens(), c.kv_cols()})};
  attention_backward(ctx, grads, dout, out, lse, c.input(samples));
  return r;
}

struct Reference {
  Doubles out, lse, dq, dk, dv;
};

/// The textbook sums, one query row at a time: row i of sample rows [begin, ...), head h.
void reference_row(const Case& c, int64_t begin, int64_t i, int64_t h, Reference& r) {
  const int64_t d = c.shape.head_dim, kv = h / (c.shape.heads / c.shape.kv_heads);
  const auto q_at = size_t(i * c.q_cols() + h * d);
  const auto kv_at = [&](int64_t j) { return size_t(j * c.kv_cols() + kv * d); };
  const double cap = double(c.shape.softcap);
  if (c.shape.window > 0) begin = std::max(begin, i - c.shape.window + 1);
  Doubles p, dp, slope;
  double top = -1e300, sum = 0, delta = 0;
  for (int64_t j = begin; j <= i; ++j) {
    double x = 0, g = 0;
    for (size_t e = 0; e < size_t(d); ++e) {
      x += double(c.q[q_at + e]) * double(c.k[kv_at(j) + e]);
      g += double(c.dout[q_at + e]) * double(c.v[kv_at(j) + e]);
    }
    x *= double(c.shape.scale);
    const double tanh = cap > 0 ? std::tanh(x / cap) : 0;
    p.push_back(cap > 0 ? cap * tanh : x);
    dp.push_back(g);
    slope.push_back(double(c.shape.scale) * (1 - tanh * tanh));
    top = std::max(top, p.back());
  }
  for (double& x : p) sum += (x = std::exp(x - top));
  for (double& x : p) x /= sum;
  for (size_t j = 0; j < p.size(); ++j) delta += p[j] * dp[j];
  r.lse[size_t(h * c.tokens() + i)] = top + std::log(sum);
  for (int64_t j = begin; j <= i; ++j) {
    const double pj = p[size_t(j - begin)];
    const double ds = pj * (dp[size_t(j - begin)] - delta) * slope[size_t(j - begin)];
    for (size_t e = 0; e < size_t(d); ++e) {
      r.out[q_at + e] += pj * double(c.v[kv_at(j) + e]);
      r.dq[q_at + e] += ds * double(c.k[kv_at(j) + e]);
      r.dk[kv_at(j) + e] += ds * double(c.q[q_at + e]);
      r.dv[kv_at(j) + e] += pj * double(c.dout[q_at + e]);
    }
  }
}

Reference reference(const Case& c) {
  Reference r{Doubles(c.q.size()), Doubles(size_t(c.shape.heads * c.tokens())), Doubles(c.q.size()),
              Doubles(c.k.size()), Doubles(c.v.size())};
  for (size_t s = 0; s + 1 < c.starts.size(); ++s) {
    for (int64_t i = c.starts[s]; i < c.starts[s + 1]; ++i) {
      for (int64_t h = 0; h < c.shape.heads; ++h) reference_row(c, c.starts[s], i, h, r);
    }
  }
  return r;
}

double largest_error(const Floats& got, const Doubles& expected) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(double(got[i]) - expected[i]);
    worst = error <= worst ? worst : error;  // NaN counts
  }
  return worst;
}

struct Shape {
  int64_t heads, kv_heads, head_dim;
  std::vector<int64_t> lengths;
  int64_t window = 0;
  float softcap = 0;
};

class AttentionShapes : public ::testing::TestWithParam<Shape> {
 protected:
  Case make(float size = 1.0f) const {
    const Shape& s = GetParam();
    Case c = make_case(s.heads, s.kv_heads, s.head_dim, s.lengths, size);
    c.shape.window = s.window;
    c.shape.softcap = s.softcap;
    return c;
  }
};

TEST_P(AttentionShapes, AgreesWithDoubleSums) {
  const Case c = make();
  const Result got = run(c, 2);
  const Reference expected = reference(c);
  // About twice the largest errors measured over all cases.
  EXPECT_LT(largest_error(got.out, expected.out), 3e-6);
  EXPECT_LT(largest_error(got.lse, expected.lse), 3e-6);
  EXPECT_LT(largest_error(got.dq, expected.dq), 3e-6);
  EXPECT_LT(largest_error(got.dk, expected.dk), 8e-6);
  EXPECT_LT(largest_error(got.dv, expected.dv), 1e-5);
}

TEST_P(AttentionShapes, SameBitsOnAnyThreadCountAndTarget) {
  const Case c = make();
  const Result expected = run(c, 1);
  // Many threads for few groups: the backward splits the groups and must not be seen to.
  for (int threads : {2, 3, 4, 16}) EXPECT_TRUE(expected == run(c, threads)) << threads;
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  const Result narrow = run(c, 2);
  hwy::SetSupportedTargetsForTest(0);
  EXPECT_TRUE(expected == narrow);
}

INSTANTIATE_TEST_SUITE_P(
    All, AttentionShapes,
    ::testing::Values(Shape{1, 1, 8, {1}}, Shape{2, 2, 16, {2, 1}}, Shape{9, 3, 64, {63, 64, 65}},
                      Shape{2, 1, 64, {200}}, Shape{8, 1, 8, {65, 3, 0, 130}},
                      Shape{4, 2, 80, {130, 64}}, Shape{2, 2, 96, {70}}, Shape{4, 2, 128, {129}},
                      Shape{1, 1, 256, {100}}, Shape{2, 1, 6, {66}}, Shape{3, 1, 40, {64, 1, 1}},
                      Shape{4, 2, 16, {200, 30}, 1}, Shape{4, 2, 16, {200, 30}, 65},
                      Shape{2, 2, 32, {300}, 128}, Shape{2, 1, 16, {130}, 0, 1.5f},
                      Shape{3, 1, 64, {200}, 70, 50.0f}));

/// The rows of sample s alone.
Case sample_of(const Case& c, size_t s) {
  Case one;
  one.shape = c.shape;
  one.starts = {0, c.starts[s + 1] - c.starts[s]};
  const auto cut = [&](const Floats& from, int64_t cols) {
    return Floats(from.begin() + c.starts[s] * cols, from.begin() + c.starts[s + 1] * cols);
  };
  one.q = cut(c.q, c.q_cols());
  one.k = cut(c.k, c.kv_cols());
  one.v = cut(c.v, c.kv_cols());
  one.dout = cut(c.dout, c.q_cols());
  return one;
}

TEST(Attention, SampleDoesNotFeelItsNeighbours) {
  const Case packed = make_case(4, 2, 16, {37, 129, 64, 1});
  const Result all = run(packed, 3);
  for (size_t s = 0; s + 1 < packed.starts.size(); ++s) {
    const Result alone = run(sample_of(packed, s), 2);
    const int64_t begin = packed.starts[s], n = packed.starts[s + 1] - begin;
    const auto same_rows = [&](const Floats& part, const Floats& whole, int64_t cols) {
      return std::equal(part.begin(), part.end(), whole.begin() + begin * cols);
    };
    EXPECT_TRUE(same_rows(alone.out, all.out, packed.q_cols())) << s;
    EXPECT_TRUE(same_rows(alone.dq, all.dq, packed.q_cols())) << s;
    EXPECT_TRUE(same_rows(alone.dk, all.dk, packed.kv_cols())) << s;
    EXPECT_TRUE(same_rows(alone.dv, all.dv, packed.kv_cols())) << s;
    for (int64_t h = 0; h < packed.shape.heads; ++h) {
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_EQ(alone.lse[size_t(h * n + i)], all.lse[size_t(h * packed.tokens() + begin + i)]);
      }
    }
  }
}

TEST(Attention, GradientIsTheDerivative) {
  for (const auto& [window, softcap] : {std::pair{int64_t{0}, 0.0f}, {3, 0.0f}, {0, 1.0f}}) {
    Case c = make_case(4, 2, 8, {5, 67});
    c.shape.window = window;
    c.shape.softcap = softcap;
    c.q = testing::grid_values(c.q.size(), 1, 1.0f);
    c.k = testing::grid_values(c.k.size(), 2, 1.0f);
    c.v = testing::grid_values(c.v.size(), 3, 1.0f);
    const Result r = run(c, 2);
    const auto loss = [&] { return testing::dot(run(c, 1).out, c.dout); };
    testing::expect_gradient(c.q, r.dq, loss);
    testing::expect_gradient(c.k, r.dk, loss);
    testing::expect_gradient(c.v, r.dv, loss);
  }
}

/// What make_attention_golden.py calls grid.
Floats golden_grid(size_t count, int64_t seed) {
  Floats v(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t n = int64_t(i);
    v[i] = float((n * 7919 + seed * 104729) * (n % 97 + 1) % 2048 - 1024) / 512.0f;
  }
  return v;
}

TEST(Attention, AgreesWithTransformers) {
  const auto golden =
      io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/attention/attention.json", 1 << 20);
  for (const auto& [name, g] : golden.items()) {
    Case c = make_case(g["heads"], g["kv_heads"], g["head_dim"], g["lengths"]);
    c.shape.window = g["window"];
    c.shape.softcap = g["softcap"];
    c.q = golden_grid(c.q.size(), 1);
    c.k = golden_grid(c.k.size(), 2);
    c.v = golden_grid(c.v.size(), 3);
    c.dout = golden_grid(c.dout.size(), 4);
    const Result r = run(c, 2);
    const auto compare = [&](const char* what, const Floats& got, double tolerance) {
      Floats picked;
      for (size_t i = 0; i < got.size(); i += 31) picked.push_back(got[i]);
      const Doubles expected = g[what];
      ASSERT_EQ(picked.size(), expected.size());
      EXPECT_LT(largest_error(picked, expected), tolerance) << name << ' ' << what;
    };
    compare("out", r.out, 1e-6);
    compare("lse", r.lse, 1e-6);
    compare("dq", r.dq, 1e-6);
    compare("dk", r.dk, 3e-6);
    compare("dv", r.dv, 3e-6);
  }
}

TEST(Attention, HugeLogitsStaySound) {
  // Logits of some 1e5: exp of any of them overflows or vanishes, and each is rounded to 2^-7.
  // Measured: out 1.5e-7, lse 1.1e-2, dv 5e-6.
  const Case c = make_case(2, 1, 32, {150}, 100.0f);
  const Result got = run(c, 2);
  const Reference expected = reference(c);
  EXPECT_LT(largest_error(got.out, expected.out), 1e-6);
  EXPECT_LT(largest_error(got.lse, expected.lse), 2e-2);
  EXPECT_LT(largest_error(got.dv, expected.dv), 1e-5);
}

void expect_nan_in_its_place(float softcap) {
  Case c = make_case(2, 1, 16, {100, 10});
  c.shape.softcap = softcap;
  const Result clean = run(c, 2);
  c.q[size_t(70 * c.q_cols())] = std::numeric_limits<float>::quiet_NaN();  // head 0 of row 70
  c.k[size_t(105 * c.kv_cols())] = std::numeric_limits<float>::quiet_NaN();
  const Result r = run(c, 2);
  for (int64_t i = 0; i < c.tokens(); ++i) {
    for (int64_t col = 0; col < c.q_cols(); ++col) {
      const size_t at = size_t(i * c.q_cols() + col);
      const bool sees = i >= 105 || (i == 70 && col < 16);
      EXPECT_EQ(std::isnan(r.out[at]), sees) << i << ' ' << col;
      EXPECT_TRUE(sees || r.out[at] == clean.out[at]);
    }
  }
  EXPECT_TRUE(std::isnan(r.dk[0])) << "row 70 sees key 0";
  EXPECT_TRUE(std::isnan(r.dq[size_t(109 * c.q_cols())]));
}

TEST(Attention, NanStaysVisibleAndInItsPlace) {
  expect_nan_in_its_place(0);
  expect_nan_in_its_place(30);
}

TEST(AttentionDecode, ReturnsTheRowsOfTheWholeForward) {
  for (const auto& [window, softcap] : {std::pair{int64_t{0}, 0.0f}, {50, 0.0f}, {0, 2.0f}}) {
    Case c = make_case(6, 2, 40, {205});
    c.shape.window = window;
    c.shape.softcap = softcap;
    const Floats whole = run(c, 2).out;
    // The cache is longer than what was filled; the rest must not be read.
    const int64_t capacity = 230;
    Floats k = c.k, v = c.v;
    k.resize(size_t(capacity * c.kv_cols()), std::numeric_limits<float>::quiet_NaN());
    v.resize(k.size(), std::numeric_limits<float>::quiet_NaN());
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1},
                                       {63, 1},
                                       {64, 1},
                                       {204, 1},
                                       {60, 9},
                                       {100, 100},
                                       {0, 205},
                                       {7, 0}}) {
      RealContext ctx(2);
      AttentionSamples none;
      const Tensor q = c.input(none).q.slice(first, first + count);
      Floats out(size_t(count * c.q_cols()));
      attention_decode(ctx, Tensor::of(std::span(out), {count, c.q_cols()}),
                       {q, Tensor::of(std::span(k), {capacity, c.kv_cols()}),
                        Tensor::of(std::span(v), {capacity, c.kv_cols()}), first, c.shape});
      EXPECT_TRUE(std::equal(out.begin(), out.end(), whole.begin() + first * c.q_cols()))
          << first << ' ' << count;
    }
  }
}

TEST(Attention, RefusesWhatItCannotDo) {
  const auto message_of = [](Case c) -> std::string {
    try {
      run(c, 1);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message_of(make_case(3, 2, 8, {4})).find("3 query heads cannot share 2"),
            std::string::npos);
  EXPECT_NE(message_of(make_case(1, 1, 257, {4})).find("head_dim 257"), std::string::npos);
  Case c = make_case(1, 1, 8, {4});
  c.starts = {0, 5, 4};
  EXPECT_THROW(run(c, 1), std::logic_error);
}

TEST(Attention, TouchesNothingWhileMeasuring) {
  Context ctx(Device::cpu(), 2, 0);
  const auto shaped = [](int64_t rows, int64_t cols) {
    return Tensor(nullptr, DType::kF32, {rows, cols});
  };
  const Tensor wide = shaped(6, 32), narrow = shaped(6, 16), lse = shaped(2, 6);
  const std::vector<int32_t> starts{0, 6};
  AttentionSamples samples(ctx, ctx.scratch(), starts, 1);
  const AttentionInput in{wide, narrow, narrow, samples, {2, 1, 16, 0.25f}};
  attention(ctx, wide, lse, in);
  attention_backward(ctx, {wide, narrow, narrow}, wide, wide, lse, in);
  attention_decode(ctx, wide, {wide, narrow, narrow, 0, in.shape});
}

}  // namespace
}  // namespace tessera
