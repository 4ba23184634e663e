// The bfloat16 product against a double-precision sum of the rounded operands, and its promises
// about bits.
#include "runtime/cpu/gemm_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

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

double rounded(float x) { return double(to_float(to_bf16(x))); }

struct Shape {
  int64_t m, n, k;
};

constexpr int64_t kRank = 5;         // depth of the float32 term
constexpr int64_t kSlack = 3;        // columns of C beyond N
constexpr float kUntouched = 77.0f;  // what they hold

struct Problem {
  explicit Problem(const Shape& shape)
      : s(shape),
        a(random_floats(size_t(s.m * s.k), 1)),
        b(random_floats(size_t(s.k * s.n), 2)),
        left(random_floats(size_t(s.m * kRank), 3)),
        right(random_floats(size_t(kRank * s.n), 4)) {}

  Shape s;
  std::vector<float> a, b, left, right;
};

struct Variant {
  bool transposed = true;  // B is given as [N, K]
  bool accumulate = false;
  bool low_rank = false;
};

/// C[M, N + kSlack], its slack untouched.
std::vector<float> multiply(const Problem& p, int threads, Variant v) {
  Context ctx(Device::cpu(), threads, 0);
  testing::give_scratch(ctx);
  const Shape& s = p.s;
  const int64_t ldc = s.n + kSlack;
  std::vector<float> c(size_t(s.m * ldc), kUntouched);
  for (int64_t i = 0; i < s.m; ++i) std::fill_n(c.begin() + i * ldc, s.n, 0.5f);
  const PackRows rows{p.b.data(), s.n}, right{p.right.data(), s.n};
  const PackTransposed columns{p.b.data(), s.k};
  const GemmTerm terms[] = {
      {p.a.data(), s.k, 1, s.k, v.transposed ? PackPanel(columns) : PackPanel(rows)},
      {p.left.data(), kRank, 1, kRank, right}};
  gemm_bf16(ctx, {c.data(), s.m, s.n, ldc, v.accumulate}, {terms, v.low_rank ? 2u : 1u});
  return c;
}

class GemmBf16 : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (!has_gemm_bf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  }
};

void expect_double_sums(const Problem& p, Variant v) {
  const Shape& s = p.s;
  const auto c = multiply(p, 2, v);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = v.accumulate ? 0.5 : 0.0, scale = std::abs(sum);
      const auto add = [&](double product) {
        sum += product;
        scale += std::abs(product);
      };
      for (int64_t k = 0; k < s.k; ++k) {
        add(rounded(p.a[size_t(i * s.k + k)]) *
            rounded(p.b[size_t(v.transposed ? j * s.k + k : k * s.n + j)]));
      }
      for (int64_t r = 0; v.low_rank && r < kRank; ++r) {
        add(double(p.left[size_t(i * kRank + r)]) * double(p.right[size_t(r * s.n + j)]));
      }
      // A product of two bfloat16 is exact in float32, so only the additions round: at most one for
      // each product and each joined chain, each by 2^-24 of no more than the sum of magnitudes.
      const double bound = scale * double(s.k + kRank + 4) * 0x1p-24;
      ASSERT_NEAR(c[size_t(i * (s.n + kSlack) + j)], sum, bound) << i << " " << j;
    }
    for (int64_t j = s.n; j < s.n + kSlack; ++j) {
      ASSERT_EQ(c[size_t(i * (s.n + kSlack) + j)], kUntouched);
    }
  }
}

TEST_P(GemmBf16, AgreesWithDoubleSumsOfRoundedOperands) {
  const Problem p(GetParam());
  for (bool transposed : {false, true}) {
    for (bool accumulate : {false, true}) {
      for (bool low_rank : {false, true}) {
        expect_double_sums(p, {transposed, accumulate, low_rank});
      }
    }
  }
}

TEST_P(GemmBf16, SameBitsOnAnyThreadCount) {
  const Problem p(GetParam());
  const Variant v{.low_rank = true};
  const auto expected = multiply(p, 1, v);
  for (int threads : {2, 3, 4}) EXPECT_EQ(expected, multiply(p, threads, v)) << threads;
}

TEST_P(GemmBf16, ARowsBitsDependOnThatRowAlone) {
  const Problem whole(GetParam());
  const Variant v{.low_rank = true};
  const auto expected = multiply(whole, 2, v);
  const int64_t row = whole.s.m - 1, k = whole.s.k, ldc = whole.s.n + kSlack;
  Problem one = whole;
  one.s.m = 1;
  one.a.assign(whole.a.end() - k, whole.a.end());
  one.left.assign(whole.left.end() - kRank, whole.left.end());
  const auto got = multiply(one, 2, v);
  EXPECT_EQ(std::memcmp(got.data(), expected.data() + row * ldc, size_t(ldc) * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(All, GemmBf16,
                         ::testing::Values(Shape{1, 1, 1}, Shape{1, 70, 2}, Shape{6, 64, 16},
                                           Shape{7, 65, 33}, Shape{13, 300, 1030},
                                           Shape{3, 79, 2049}, Shape{200, 16, 70},
                                           Shape{1100, 130, 41}, Shape{5, 172, 64},
                                           Shape{23, 530, 95}));

class GemmBf16Values : public GemmBf16 {};

/// x * y, alone, as the kernel has it.
float product(float x, float y) {
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  float c = kUntouched;
  const PackRows pack{&y, 1};
  const GemmTerm term{&x, 1, 1, 1, pack};
  gemm_bf16(ctx, {&c, 1, 1, 1, false}, {&term, 1});
  return c;
}

TEST_F(GemmBf16Values, OperandsRoundToNearestTiesToEven) {
  // 1 + 2^-8 lies halfway between two bfloat16 values, 1 + 3 * 2^-8 between the next two.
  for (const float x : {1.0f + 0x1p-8f, 1.0f + 0x1p-8f + 0x1p-23f, 1.0f + 3 * 0x1p-8f,
                        1.0f + 0x1p-8f - 0x1p-23f, -1.0f - 3 * 0x1p-8f, 0x1.fep100f, 0x1p-126f}) {
    EXPECT_EQ(product(x, 1.0f), to_float(to_bf16(x))) << x;
    EXPECT_EQ(product(1.0f, x), to_float(to_bf16(x))) << x;
  }
}

TEST_F(GemmBf16Values, BrokenNumbersStayBroken) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(product(nan, 1.0f)));
  EXPECT_TRUE(std::isnan(product(1.0f, -nan)));
  EXPECT_EQ(product(infinity, -2.0f), -infinity);
  EXPECT_TRUE(std::isnan(product(infinity, 0.0f)));
}

TEST_F(GemmBf16Values, NothingBehindTheLastProductCounts) {
  // NaN lies behind each row of A, and in the memory where the thread packed a larger B before.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(product(nan, nan)));
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  const std::vector<float> broken(64 * 64, nan);
  for (int64_t depth : {1, 15, 16, 17, 31, 33, 63}) {
    std::vector<float> c(64), a(64, nan);
    const PackRows broken_rows{broken.data(), 64};
    const GemmTerm before{broken.data(), 64, 1, 64, broken_rows};
    gemm_bf16(ctx, {c.data(), 1, 64, 64, false}, {&before, 1});
    std::fill_n(a.begin(), depth, 1.0f);
    const std::vector<float> b(size_t(depth * 64), 1.0f);
    const PackRows rows{b.data(), 64};
    const GemmTerm term{a.data(), 64, 1, depth, rows};
    gemm_bf16(ctx, {c.data(), 1, 64, 64, false}, {&term, 1});
    EXPECT_EQ(c, std::vector<float>(64, float(depth))) << depth;
  }
}

TEST_F(GemmBf16Values, NoProductsLeaveC) {
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  const PackRows pack{nullptr, 1};
  const GemmTerm term{nullptr, 0, 1, 0, pack};
  float c = 3.0f;
  gemm_bf16(ctx, {&c, 1, 1, 1, true}, {&term, 1});
  EXPECT_EQ(c, 3.0f);
}

}  // namespace
}  // namespace tessera::cpu
