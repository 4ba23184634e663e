// Attention against a double-precision sum over whole rows, and its promises about bits.
#include "runtime/ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "hwy/targets.h"

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
    set_scratch(Arena(4096));
  }
};

struct Case {
  AttentionShape shape;
  std::vector<int32_t> starts;
  Floats q, k, v, dout;

  int64_t tokens() const { return starts.back(); }
  int64_t q_cols() const { return shape.heads * shape.head_dim; }
  int64_t kv_cols() const { return shape.kv_heads * shape.head_dim; }
  AttentionInput input() const {
    return {Tensor::of(std::span(q), {tokens(), q_cols()}),
            Tensor::of(std::span(k), {tokens(), kv_cols()}),
            Tensor::of(std::span(v), {tokens(), kv_cols()}), starts, shape};
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
  attention(ctx, out, lse, c.input());
  const AttentionGrads grads{Tensor::of(std::span(r.dq), {c.tokens(), c.q_cols()}),
                             Tensor::of(std::span(r.dk), {c.tokens(), c.kv_cols()}),
                             Tensor::of(std::span(r.dv), {c.tokens(), c.kv_cols()})};
  attention_backward(ctx, grads, dout, out, lse, c.input());
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
  Doubles p, dp;
  double top = -1e300, sum = 0, delta = 0;
  for (int64_t j = begin; j <= i; ++j) {
    double x = 0, g = 0;
    for (size_t e = 0; e < size_t(d); ++e) {
      x += double(c.q[q_at + e]) * double(c.k[kv_at(j) + e]);
      g += double(c.dout[q_at + e]) * double(c.v[kv_at(j) + e]);
    }
    p.push_back(x * double(c.shape.scale));
    dp.push_back(g);
    top = std::max(top, p.back());
  }
  for (double& x : p) sum += (x = std::exp(x - top));
  for (double& x : p) x /= sum;
  for (size_t j = 0; j < p.size(); ++j) delta += p[j] * dp[j];
  r.lse[size_t(h * c.tokens() + i)] = top + std::log(sum);
  for (int64_t j = begin; j <= i; ++j) {
    const double pj = p[size_t(j - begin)];
    const double ds = pj * (dp[size_t(j - begin)] - delta) * double(c.shape.scale);
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
};

class AttentionShapes : public ::testing::TestWithParam<Shape> {
 protected:
  Case make(float size = 1.0f) const {
    const Shape& s = GetParam();
    return make_case(s.heads, s.kv_heads, s.head_dim, s.lengths, size);
  }
};

TEST_P(AttentionShapes, AgreesWithDoubleSums) {
  const Case c = make();
  const Result got = run(c, 2);
  const Reference expected = reference(c);
  // About twice the largest errors measured over all cases.
  EXPECT_LT(largest_error(got.out, expected.out), 2e-6);
  EXPECT_LT(largest_error(got.lse, expected.lse), 2e-6);
  EXPECT_LT(largest_error(got.dq, expected.dq), 5e-6);
  EXPECT_LT(largest_error(got.dk, expected.dk), 2e-5);
  EXPECT_LT(largest_error(got.dv, expected.dv), 2e-5);
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

INSTANTIATE_TEST_SUITE_P(All, AttentionShapes,
                         ::testing::Values(Shape{1, 1, 8, {1}}, Shape{2, 2, 16, {2, 1}},
                                           Shape{9, 3, 64, {63, 64, 65}}, Shape{2, 1, 64, {200}},
                                           Shape{8, 1, 8, {65, 3, 0, 130}},
                                           Shape{4, 2, 80, {130, 64}}, Shape{2, 2, 96, {70}},
                                           Shape{4, 2, 128, {129}}, Shape{1, 1, 256, {100}},
                                           Shape{2, 1, 6, {66}}, Shape{3, 1, 40, {64, 1, 1}}));

}  // namespace
}  // namespace tessera
