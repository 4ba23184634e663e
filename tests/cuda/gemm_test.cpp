// The GPU's matrix product against sums in double precision, and cuda::matmul against the CPU's.
#include "runtime/cuda/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "runtime/ops/matmul.h"
#include "tests/cuda/on_device.h"
#include "tests/expect_error.h"

namespace tessera {
namespace {

using testing::DeviceContext;
using testing::OnDevice;

constexpr size_t kScratch = kMatmulWorkspace + (size_t{1} << 20);

struct Case {
  int64_t m, n, k;
  DType in = DType::kF32, out = DType::kF32;
  bool transpose_a = false, transpose_b = false, accumulate = false;
};

std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = uniform(random);
  return values;
}

/// The operands on the device, and what the product must be.
class Product {
 public:
  explicit Product(const Case& c)
      : case_(c),
        a_values_(testing::rounded(c.in, random_values(c.m * c.k, 1))),
        b_values_(testing::rounded(c.in, random_values(c.k * c.n, 2))),
        c_values_(testing::rounded(c.out, random_values(c.m * c.n, 3))),
        a_(c.transpose_a ? OnDevice(c.in, {c.k, c.m}, a_values_)
                         : OnDevice(c.in, {c.m, c.k}, a_values_)),
        b_(c.transpose_b ? OnDevice(c.in, {c.n, c.k}, b_values_)
                         : OnDevice(c.in, {c.k, c.n}, b_values_)),
        c_(c.out, {c.m, c.n}, c_values_) {}

  cuda::GemmArgs args() const {
    return {c_, a_, b_, case_.transpose_a, case_.transpose_b, case_.accumulate};
  }
  std::vector<float> result(Context& ctx) const { return c_.values(ctx); }
  std::vector<std::byte> bits(Context& ctx) const { return c_.bytes(ctx); }

  /// k roundings of partial sums to float32, some up and some down (tensor cores cut off, hence
  /// 2^-23), then the rounding to the output's type, of which float16 has subnormals.
  void expect_right(Context& ctx) const {
    const auto got = result(ctx);
    const double unit = case_.out == DType::kBF16 ? 0x1p-8 : case_.out == DType::kF16 ? 0x1p-11 : 0;
    const double least = case_.out == DType::kF16 ? 0x1p-25 : 0;
    for (int64_t i = 0; i < case_.m; ++i) {
      for (int64_t j = 0; j < case_.n; ++j) {
        const size_t at = size_t(i * case_.n + j);
        double sum = case_.accumulate ? c_values_[at] : 0.0, size = std::abs(sum);
        for (int64_t k = 0; k < case_.k; ++k) {
          sum += double(a(i, k)) * b(k, j);
          size += std::abs(double(a(i, k)) * b(k, j));
        }
        const double noise = 0x1p-23 * std::sqrt(double(case_.k + 1)) * size;
        ASSERT_NEAR(got[at], sum, noise + unit * std::abs(sum) + least) << i << ", " << j;
      }
    }
  }

 private:
  float a(int64_t i, int64_t k) const {
    return a_values_[size_t(case_.transpose_a ? k * case_.m + i : i * case_.k + k)];
  }
  float b(int64_t k, int64_t j) const {
    return b_values_[size_t(case_.transpose_b ? j * case_.k + k : k * case_.n + j)];
  }

  Case case_;
  std::vector<float> a_values_, b_values_, c_values_;
  OnDevice a_, b_, c_;
};

TEST(Gemm, IsRightInEveryTypeOrderAndShape) {
  DeviceContext ctx(DType::kF32, kScratch);
  const struct {
    DType in, out;
  } types[] = {{DType::kF32, DType::kF32},
               {DType::kBF16, DType::kBF16},
               {DType::kBF16, DType::kF32},
               {DType::kF16, DType::kF16},
               {DType::kF16, DType::kF32}};
  const struct {
    int64_t m, n, k;
  } shapes[] = {{1, 1, 1}, {1, 64, 32}, {64, 16, 129}, {33, 7, 5}, {130, 257, 64}, {5, 300, 1}};
  for (const auto& [in, out] : types) {
    for (const auto& [m, n, k] : shapes) {
      for (const int flags : {0, 1, 2, 3, 4, 5, 6, 7}) {
        const Case c{m, n, k, in, out, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
        SCOPED_TRACE(::testing::Message() << m << "x" << n << "x" << k << " " << name_of(in) << " "
                                          << name_of(out) << " flags " << flags);
        const Product product(c);
        cuda::gemm(ctx, product.args());
        product.expect_right(ctx);
      }
    }
  }
}

TEST(Gemm, IsRightByEveryAlgorithm) {
  DeviceContext ctx(DType::kBF16, kScratch);
  const Product product({48, 40, 96, DType::kBF16, DType::kF32});
  cuda::GemmArgs args = product.args();
  try {
    for (; args.choice < 10; ++args.choice) {
      cuda::gemm(ctx, args);
      product.expect_right(ctx);
    }
  } catch (const Error& none_left) {
    EXPECT_GE(args.choice, 1) << none_left.what();
    EXPECT_NE(std::string(none_left.what()).find(" algorithms, not "), std::string::npos)
        << none_left.what();
  }
}

TEST(Gemm, WithoutDepthIsZeroOrWhatItWas) {
  DeviceContext ctx(DType::kF32, kScratch);
  const std::vector<float> before(6, 5.0f);
  const OnDevice a(DType::kBF16, {2, 0}), b(DType::kBF16, {0, 3});
  const OnDevice c(DType::kF32, {2, 3}, before);
  cuda::gemm(ctx, {c, a, b, false, false, true});
  EXPECT_EQ(c.values(ctx), before);
  cuda::gemm(ctx, {c, a, b, false, false, false});
  EXPECT_EQ(c.values(ctx), std::vector<float>(6, 0.0f));
}

TEST(Gemm, OfNoRowsOrColumnsDoesNothing) {
  DeviceContext ctx(DType::kF32, kScratch);
  const OnDevice some(DType::kF32, {4, 4}, std::vector<float>(16, 1.0f)), none(DType::kF32, {0, 4});
  cuda::gemm(ctx, {none, none, some, false, false, false});
  const OnDevice thin(DType::kF32, {4, 0});
  cuda::gemm(ctx, {thin, some, thin, false, false, false});
  ctx.compute_stream().synchronize();
}

TEST(Gemm, GivesTheSameBitsAgainAndWhereverTheTensorsLie) {
  DeviceContext first(DType::kBF16, kScratch), second(DType::kBF16, kScratch);
  const Case c{40, 24, 640, DType::kBF16, DType::kF32};
  const Product product(c);
  cuda::gemm(first, product.args());
  const auto bits = product.bits(first);
  cuda::gemm(first, product.args());
  EXPECT_EQ(product.bits(first), bits);
  cuda::gemm(second, product.args());
  EXPECT_EQ(product.bits(second), bits);
  // 16 bytes further.
  const int64_t shift = 16 / int64_t(size_of(DType::kBF16));
  const OnDevice moved(DType::kBF16, {c.m * c.k + shift});
  second.compute_stream().copy(static_cast<char*>(moved.tensor().raw()) + 16,
                               product.args().a.raw(), product.args().a.bytes());
  auto args = product.args();
  args.a = moved.tensor().slice(shift, shift + c.m * c.k).view({c.m, c.k});
  cuda::gemm(second, args);
  EXPECT_EQ(product.bits(second), bits);
}

TEST(Gemm, WorksOnRowsAtOddAddresses) {
  DeviceContext ctx(DType::kBF16, kScratch);
  const auto values = testing::rounded(DType::kBF16, random_values(9 * 9, 4));
  const OnDevice all(DType::kBF16, {9, 9}, values);
  const OnDevice one(DType::kBF16, {9, 1}, std::vector<float>(9, 1.0f));
  const OnDevice sums(DType::kF32, {8, 1});
  cuda::gemm(ctx, {sums, all.tensor().slice(1, 9), one, false, false, false});
  const auto got = sums.values(ctx);
  for (size_t i = 0; i < 8; ++i) {
    double sum = 0.0;
    for (size_t k = 0; k < 9; ++k) sum += values[(i + 1) * 9 + k];
    EXPECT_NEAR(got[i], sum, 9 * 0x1p-23);
  }
}

TEST(Gemm, PlansItsWorkspaceAndNothingElse) {
  Context ctx(testing::test_device(), 1, 7);
  const Tensor a(nullptr, DType::kF32, {100, 200}, ctx.device());
  const Tensor b(nullptr, DType::kF32, {200, 300}, ctx.device());
  const Tensor c(nullptr, DType::kF32, {100, 300}, ctx.device());
  cuda::gemm(ctx, {c, a, b, false, false, false});
  EXPECT_EQ(ctx.scratch().high_water(), kMatmulWorkspace);
  EXPECT_EQ(ctx.scratch().used(), 0u);
}

TEST(Gemm, NamesTheProductThatCannotBe) {
  DeviceContext ctx(DType::kF32, kScratch);
  const OnDevice memory(DType::kF32, {300});
  // Floats that begin at an odd byte have no algorithm.
  auto* odd = static_cast<char*>(memory.tensor().raw()) + 1;
  const Tensor a(odd, DType::kF32, {4, 6}, ctx.device()), b = memory.tensor().slice(30, 48);
  const Tensor c = memory.tensor().slice(100, 112);
  const std::string error = testing::error_of([&] {
    cuda::gemm(ctx, {c.view({4, 3}), a, b.view({6, 3}), false, false, false});
  });
  EXPECT_NE(error.find("no algorithm for a product [4, 6] x [6, 3] of float32 into float32"),
            error.npos)
      << error;
}

TEST(Gemm, RefusesTensorsThatDoNotFit) {
  DeviceContext ctx(DType::kF32, kScratch);
  const OnDevice a(DType::kF32, {4, 6}), b(DType::kF32, {6, 3}), c(DType::kF32, {4, 3});
  const OnDevice half(DType::kBF16, {6, 3}), narrow(DType::kBF16, {4, 3});
  EXPECT_THROW(cuda::gemm(ctx, {c, a, b, true, false, false}), std::logic_error);
  EXPECT_THROW(cuda::gemm(ctx, {c, a, b, false, true, false}), std::logic_error);
  EXPECT_THROW(cuda::gemm(ctx, {c, a, half, false, false, false}), std::logic_error);
  EXPECT_THROW(cuda::gemm(ctx, {narrow, a, b, false, false, false}), std::logic_error);
}

TEST(CudaMatmul, AgreesWithTheCpuOnLoraShapes) {
  // LoRA's four products at rank 16: x A^T, u B^T, and the two gradients.
  const Case cases[] = {{50, 16, 96, DType::kF32, DType::kF32, false, true, false},
                        {50, 96, 16, DType::kF32, DType::kF32, false, true, true},
                        {16, 96, 50, DType::kF32, DType::kF32, true, false, true},
                        {300, 16, 50, DType::kF32, DType::kF32, true, false, true}};
  DeviceContext ctx(DType::kF32, kScratch);
  Context host(Device::cpu(), 1, 7);
  host.set_scratch(Arena(size_t{1} << 20));
  for (const Case& c : cases) {
    const auto a = random_values(c.m * c.k, 5), b = random_values(c.k * c.n, 6);
    auto sum = random_values(c.m * c.n, 7);
    const auto shaped = [](DType type, bool transposed, int64_t rows, int64_t columns,
                           const std::vector<float>& values) {
      return transposed ? OnDevice(type, {columns, rows}, values)
                        : OnDevice(type, {rows, columns}, values);
    };
    const OnDevice there_a = shaped(c.in, c.transpose_a, c.m, c.k, a);
    const OnDevice there_b = shaped(c.in, c.transpose_b, c.k, c.n, b);
    const OnDevice there(DType::kF32, {c.m, c.n}, sum);
    const MatmulOptions options{c.transpose_a, c.transpose_b, c.accumulate};
    matmul(ctx, there, there_a, there_b, options);
    const auto on_host = [](const std::vector<float>& values, const OnDevice& like) {
      return Tensor::of(std::span(values), {like.tensor().dim(0), like.tensor().dim(1)});
    };
    matmul(host, on_host(sum, there), on_host(a, there_a), on_host(b, there_b), options);
    const auto got = there.values(ctx);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], sum[i], 0x1p-23 * double(c.k)) << i;
    }
  }
}

TEST(CudaMatmul, TakesActivationsIntoThemOrFloats) {
  DeviceContext ctx(DType::kBF16, kScratch);
  const OnDevice a(DType::kBF16, {4, 6}, std::vector<float>(24, 0.5f));
  const OnDevice b(DType::kBF16, {6, 3}, std::vector<float>(18, 2.0f));
  for (const DType out : {DType::kBF16, DType::kF32}) {
    const OnDevice c(out, {4, 3});
    matmul(ctx, c, a, b, {});
    EXPECT_EQ(c.values(ctx), std::vector<float>(12, 6.0f));
  }
  const OnDevice wide(DType::kF32, {4, 6}), wide_b(DType::kF32, {6, 3}), c(DType::kF32, {4, 3});
  EXPECT_THROW(matmul(ctx, c, wide, wide_b, {}), std::logic_error);
  EXPECT_THROW(matmul(ctx, Tensor(nullptr, DType::kF32, {4, 3}), a, b, {}), std::logic_error);
}

}  // namespace
}  // namespace tessera
