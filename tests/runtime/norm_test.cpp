// RMSNorm against transformers, finite differences, and its promise about bits.
#include "runtime/ops/norm.h"

#include <gtest/gtest.h>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

class Norm : public ::testing::Test {
 protected:
  Norm() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

template <class Weight>
void compare_with_transformers(Context& ctx, const std::string& name, std::vector<Weight> w) {
  const auto golden = testing::ops_golden(name);
  Floats x = golden["x"], dy = golden["dy"], y(x.size()), rstd(3);
  const auto shaped = [](Floats& v) { return Tensor::of(std::span(v), {3, 21}); };
  const Tensor weight = Tensor::of(std::span(w), {21}), scale = Tensor::of(std::span(rstd), {3});
  rmsnorm(ctx, shaped(y), scale, shaped(x), weight, golden["eps"].get<float>());
  testing::expect_close(y, golden["y"], 3e-7);
  Floats dx(x.size(), 1.0f);  // the backward must add to this
  rmsnorm_backward(ctx, shaped(dx), shaped(dy), shaped(x), weight, scale);
  for (float& v : dx) v -= 1.0f;
  testing::expect_close(dx, golden["dx"], 1e-6);
}

TEST_F(Norm, AgreesWithTransformersForEveryWeightType) {
  Floats w32 = testing::ops_golden("rmsnorm_f32")["w"];
  compare_with_transformers(ctx_, "rmsnorm_f32", w32);
  std::vector<bf16> wb;
  for (float v : Floats(testing::ops_golden("rmsnorm_bf16")["w"])) wb.push_back(to_bf16(v));
  compare_with_transformers(ctx_, "rmsnorm_bf16", wb);
  std::vector<f16> wh;
  for (float v : Floats(testing::ops_golden("rmsnorm_f16")["w"])) wh.push_back(to_f16(v));
  compare_with_transformers(ctx_, "rmsnorm_f16", wh);
}

TEST_F(Norm, GradientIsTheDerivative) {
  for (int64_t cols : {1, 16, 40}) {
    const int64_t rows = 3;
    const size_t n = size_t(rows * cols);
    Floats x = grid_values(n, 1), w = grid_values(size_t(cols), 2), dy = grid_values(n, 3);
    Floats y(n), rstd(size_t(rows), 0.0f), dx(n, 0.0f);
    const auto shaped = [&](Floats& v) { return Tensor::of(std::span(v), {rows, cols}); };
    const Tensor weight = Tensor::of(std::span(w), {cols});
    const Tensor scale = Tensor::of(std::span(rstd), {rows});
    const auto loss = [&] {
      rmsnorm(ctx_, shaped(y), scale, shaped(x), weight, 0.5f);
      return testing::dot(y, dy);
    };
    loss();
    rmsnorm_backward(ctx_, shaped(dx), shaped(dy), shaped(x), weight, scale);
    testing::expect_gradient(x, dx, loss);
  }
}

TEST_F(Norm, MayWriteOverItsInput) {
  Floats x = grid_values(70, 4), w = grid_values(35, 5), y(70), rstd(2);
  const Tensor weight = Tensor::of(std::span(w), {35}), scale = Tensor::of(std::span(rstd), {2});
  const Tensor in = Tensor::of(std::span(x), {2, 35});
  rmsnorm(ctx_, Tensor::of(std::span(y), {2, 35}), scale, in, weight, 1e-5f);
  rmsnorm(ctx_, in, scale, in, weight, 1e-5f);
  EXPECT_EQ(x, y);
}

TEST_F(Norm, SameBitsOnAnyThreadCountAndTarget) {
  const int64_t rows = 700, cols = 173;
  const size_t n = size_t(rows * cols);
  testing::expect_same_bits([&](Context& ctx) {
    Floats x = grid_values(n, 6), w = grid_values(size_t(cols), 7), dy = grid_values(n, 8);
    Floats y(n), rstd(size_t(rows), 0.0f), dx(n, 0.25f);
    std::vector<f16> half;
    for (float v : w) half.push_back(to_f16(v));
    const auto shaped = [&](Floats& v) { return Tensor::of(std::span(v), {rows, cols}); };
    const Tensor weight = Tensor::of(std::span(half), {cols});
    const Tensor scale = Tensor::of(std::span(rstd), {rows});
    rmsnorm(ctx, shaped(y), scale, shaped(x), weight, 1e-5f);
    rmsnorm_backward(ctx, shaped(dx), shaped(dy), shaped(x), weight, scale);
    y.insert(y.end(), dx.begin(), dx.end());
    return y;
  });
}

TEST_F(Norm, RefusesWrongShapesAndTypes) {
  Floats x(20), w(9), rstd(2);
  const Tensor in = Tensor::of(std::span(x), {2, 10}), scale = Tensor::of(std::span(rstd), {2});
  EXPECT_THROW(rmsnorm(ctx_, in, scale, in, Tensor::of(std::span(w), {9}), 0), std::logic_error);
  std::vector<int32_t> ids(10);
  EXPECT_THROW(rmsnorm(ctx_, in, scale, in, Tensor::of(std::span(ids), {10}), 0), std::logic_error);
}

TEST_F(Norm, TouchesNothingWhileMeasuring) {
  Context measuring(Device::cpu(), 1, 0);
  const Tensor x(nullptr, DType::kF32, {4, 8}), rstd(nullptr, DType::kF32, {4});
  const Tensor w(nullptr, DType::kBF16, {8});
  rmsnorm(measuring, x, rstd, x, w, 1e-5f);
  rmsnorm_backward(measuring, x, x, x, w, rstd);
}

}  // namespace
}  // namespace tessera
