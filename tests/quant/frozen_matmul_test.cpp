// Products with a frozen weight in each compute type: the bits of the plain product of operands
// that were rounded beforehand.
#include "quant/frozen_matmul.h"

#include <gtest/gtest.h>

#include "quant/format_4bit.h"
#include "quant/format_dense.h"
#include "runtime/core/buffer.h"
#include "runtime/cpu/gemm_bf16.h"
#include "tests/quant/golden_input.h"

namespace tessera::quant {
namespace {

constexpr int64_t kTokens = 13, kRank = 8;

/// A frozen weight, and everything that is multiplied with it.
struct Problem {
  explicit Problem(const FrozenSpec& s)
      : spec(s),
        weights(bell(s.numel(), 1, 0.05f)),
        x(bell(kTokens * s.cols, 2, 1.0f)),
        dy(bell(kTokens * s.rows, 3, 1.0f)),
        left(bell(kTokens * kRank, 4, 1.0f)),
        b(bell(s.rows * kRank, 5, 1.0f)),
        a(bell(kRank * s.cols, 6, 1.0f)),
        blob(Buffer::host(s.bytes())) {
    Context ctx(Device::cpu(), 1, 0);
    give_scratch(ctx);
    FrozenMatrix::quantize(ctx, spec, weights, blob.data(), "w");
    matrix = FrozenMatrix(spec, blob.data());
    matrix.dequantize_span(0, spec.numel(), weights.data());
  }

  FrozenSpec spec;
  std::vector<float> weights;  // as the blob has them
  std::vector<float> x, dy, left, b, a;
  Buffer blob;
  FrozenMatrix matrix;
};

struct Products {
  std::vector<float> y, dx;
  bool operator==(const Products&) const = default;
};

Products frozen_products(Problem& p, DType type) {
  Context ctx(Device::cpu(), 2, 0);
  give_scratch(ctx);
  ctx.set_compute_dtype(type);
  const int64_t n = p.spec.rows, k = p.spec.cols;
  Products out{std::vector<float>(size_t(kTokens * n)),
               std::vector<float>(size_t(kTokens * k), 0.25f)};
  const Tensor left(p.left.data(), DType::kF32, {kTokens, kRank});
  frozen_matmul(ctx, Tensor(out.y.data(), DType::kF32, {kTokens, n}),
                Tensor(p.x.data(), DType::kF32, {kTokens, k}), p.matrix,
                {left, Tensor(p.b.data(), DType::kF32, {n, kRank})});
  frozen_matmul_backward(ctx, Tensor(out.dx.data(), DType::kF32, {kTokens, k}),
                         Tensor(p.dy.data(), DType::kF32, {kTokens, n}), p.matrix,
                         {left, Tensor(p.a.data(), DType::kF32, {kRank, k})}, true);
  return out;
}

using Multiply = decltype(&cpu::gemm);

/// The same by gemm or gemm_bf16 with p.weights.
Products plain_products(const Problem& p, Multiply multiply) {
  Context ctx(Device::cpu(), 1, 0);
  give_scratch(ctx);
  const int64_t n = p.spec.rows, k = p.spec.cols;
  Products out{std::vector<float>(size_t(kTokens * n)),
               std::vector<float>(size_t(kTokens * k), 0.25f)};
  const cpu::PackTransposed w_transposed{p.weights.data(), k}, b_transposed{p.b.data(), kRank};
  const cpu::GemmTerm y_terms[] = {{p.x.data(), k, 1, k, w_transposed},
                                   {p.left.data(), kRank, 1, kRank, b_transposed}};
  multiply(ctx, {out.y.data(), kTokens, n, n, false}, std::span(y_terms));
  const cpu::PackRows w_rows{p.weights.data(), k}, a_rows{p.a.data(), k};
  const cpu::GemmTerm dx_terms[] = {{p.dy.data(), n, 1, n, w_rows},
                                    {p.left.data(), kRank, 1, kRank, a_rows}};
  multiply(ctx, {out.dx.data(), kTokens, k, k, true}, std::span(dx_terms));
  return out;
}

class FrozenMatmul : public ::testing::TestWithParam<FrozenSpec> {};

TEST_P(FrozenMatmul, Float32IsThePlainProduct) {
  Problem p(GetParam());
  EXPECT_EQ(frozen_products(p, DType::kF32), plain_products(p, cpu::gemm));
}

TEST_P(FrozenMatmul, Float16RoundsTheWeightsAlone) {
  Problem p(GetParam());
  const Products got = frozen_products(p, DType::kF16);
  for (float& w : p.weights) w = to_float(to_f16(w));
  EXPECT_EQ(got, plain_products(p, cpu::gemm));
}

TEST_P(FrozenMatmul, Bfloat16RoundsBothOperandsButNotTheUpdate) {
  if (!cpu::has_gemm_bf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  Problem p(GetParam());
  const Products got = frozen_products(p, DType::kBF16);
  // Rounding what is rounded already changes nothing, so this holds only if the program's own
  // rounding is that of to_bf16.
  for (std::vector<float>* operand : {&p.weights, &p.x, &p.dy}) {
    for (float& v : *operand) v = to_float(to_bf16(v));
  }
  EXPECT_EQ(got, plain_products(p, cpu::gemm_bf16));
}

TEST_P(FrozenMatmul, TheTimeOfDecodingStandsApart) {
  Problem p(GetParam());
  Context ctx(Device::cpu(), 2, 0);
  give_scratch(ctx);
  Timeline timeline(ctx.compute_stream());
  ctx.set_timeline(&timeline);
  std::vector<float> y(size_t(kTokens * p.spec.rows));
  const Tensor out(y.data(), DType::kF32, {kTokens, p.spec.rows}),
      in(p.x.data(), DType::kF32, {kTokens, p.spec.cols});
  frozen_matmul(ctx, out, in, p.matrix, {});
  ComputeParts seconds = timeline.take();
  EXPECT_EQ(seconds[size_t(ComputePart::kDequantize)] > 0, !p.spec.is_dense(DType::kF32));
  EXPECT_GT(seconds[size_t(ComputePart::kProducts)], 0.0);

  const PartScope head(&timeline, ComputePart::kHead);  // whose time is not divided
  frozen_matmul(ctx, out, in, p.matrix, {});
  seconds = timeline.take();
  EXPECT_EQ(seconds[size_t(ComputePart::kDequantize)], 0.0);
  EXPECT_GT(seconds[size_t(ComputePart::kHead)], 0.0);
}

INSTANTIATE_TEST_SUITE_P(All, FrozenMatmul,
                         ::testing::Values(FrozenSpec{{&kNf4Format, 64, true}, 130, 172},
                                           FrozenSpec{{&kFp4Format, 32, true}, 65, 77},
                                           FrozenSpec{{&kNf4Format, 256, false}, 70, 1101},
                                           FrozenSpec{{&kF32Format}, 1101, 75},
                                           FrozenSpec{{&kBF16Format}, 66, 75},
                                           FrozenSpec{{&kF16Format}, 13, 131}));

}  // namespace
}  // namespace tessera::quant
