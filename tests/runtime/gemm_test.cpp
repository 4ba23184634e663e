// The CPU matrix product against a double-precision sum, and its promises about bits.
#include "runtime/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "hwy/targets.h"
#include "tests/bits_check.h"

namespace tessera::cpu {
namespace {

std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> v(n);
  for (float& x : v) x = uniform(rng);
  return v;
}

struct Shape {
  int64_t m, n, k;
};

std::vector<float> multiply(const Shape& s, int threads, bool transposed_b, bool accumulate) {
  Context ctx(Device::cpu(), threads, 0);
  testing::give_scratch(ctx);
  const auto a = random_floats(size_t(s.m * s.k), 1);
  const auto b = random_floats(size_t(s.k * s.n), 2);
  std::vector<float> c(size_t(s.m * s.n), 0.5f);
  const PackRows rows{b.data(), s.n};
  const PackTransposed columns{b.data(), s.k};
  const GemmTerm term{a.data(), s.k, 1, s.k, transposed_b ? PackPanel(columns) : PackPanel(rows)};
  gemm(ctx, {c.data(), s.m, s.n, s.n, accumulate}, {&term, 1});
  return c;
}

class GemmShapes : public ::testing::TestWithParam<Shape> {};

TEST_P(GemmShapes, AgreesWithDoubleSum) {
  const Shape s = GetParam();
  const auto a = random_floats(size_t(s.m * s.k), 1);
  const auto b = random_floats(size_t(s.k * s.n), 2);
  for (bool transposed : {false, true}) {
    for (bool accumulate : {false, true}) {
      const auto c = multiply(s, 2, transposed, accumulate);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double sum = accumulate ? 0.5 : 0.0, scale = std::abs(sum);
          for (int64_t k = 0; k < s.k; ++k) {
            const double x = double(a[size_t(i * s.k + k)]) *
                             double(transposed ? b[size_t(j * s.k + k)] : b[size_t(k * s.n + j)]);
            sum += x;
            scale += std::abs(x);
          }
          // A chain of k FMAs errs by at most k * 2^-24 of the sum of magnitudes.
          ASSERT_NEAR(c[size_t(i * s.n + j)], sum, scale * double(s.k + 1) * 0x1p-24);
        }
      }
    }
  }
}

TEST_P(GemmShapes, SameBitsOnAnyThreadCountAndTarget) {
  const Shape s = GetParam();
  const auto expected = multiply(s, 1, true, false);
  for (int threads : {2, 3, 4}) EXPECT_EQ(expected, multiply(s, threads, true, false));
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  EXPECT_EQ(expected, multiply(s, 2, true, false));
  hwy::SetSupportedTargetsForTest(0);
}

INSTANTIATE_TEST_SUITE_P(All, GemmShapes,
                         ::testing::Values(Shape{1, 1, 1}, Shape{6, 64, 16}, Shape{7, 65, 33},
                                           Shape{13, 100, 1030}, Shape{200, 16, 70},
                                           Shape{1100, 130, 40}, Shape{5, 172, 64}));

TEST(Gemm, TermsAddUpInOrder) {
  // [A1 A2] * [B1; B2] as two terms has the bits of the joined product where a chain ends.
  const int64_t m = 9, n = 70, k1 = 128, k2 = 16;
  Context ctx(Device::cpu(), 2, 0);
  testing::give_scratch(ctx);
  const auto a = random_floats(size_t(m * (k1 + k2)), 3);
  const auto b = random_floats(size_t((k1 + k2) * n), 4);
  std::vector<float> joined(size_t(m * n)), terms(size_t(m * n));
  const PackRows all{b.data(), n}, second{b.data() + k1 * n, n};
  const GemmTerm one{a.data(), k1 + k2, 1, k1 + k2, all};
  gemm(ctx, {joined.data(), m, n, n, false}, {&one, 1});
  const GemmTerm two[] = {{a.data(), k1 + k2, 1, k1, all}, {a.data() + k1, k1 + k2, 1, k2, second}};
  gemm(ctx, {terms.data(), m, n, n, false}, two);
  EXPECT_EQ(joined, terms);
}

}  // namespace
}  // namespace tessera::cpu
