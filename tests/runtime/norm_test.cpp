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
void compare_with_transformers(Context& ctx, const std::string& name, std::vector<Weight> w,
                               float plus) {
  const auto golden = testing::ops_golden(name);
  Floats x = golden["x"], dy = golden["dy"], y(x.size()), rstd(3);
  const auto shaped = [](Floats& v) { return Tensor::of(std::span(v), {3, 21}); };
  const Tensor scale = Tensor::of(std::span(rstd), {3});
  const RmsNorm norm{Tensor::of(std::span(w), {21}), golden["eps"].get<float>(), plus};
  rmsnorm(ctx, shaped(y), scale, shaped(x), norm);
  testing::expect_close(y, golden["y"], 3e-7);
  Floats dx(x.size(), 1.0f);  // the backward must add to this
  rmsnorm_backward(ctx, shaped(dx), shaped(dy), shaped(x), norm, scale);
  for (float& v : dx) v -= 1.0f;
  testing::expect_close(dx, golden["dx"], 1e-6);
}

TEST_F(Norm, AgreesWithTransformersForEveryWeightType) {
  for (const auto& [kind, plus] : {std::pair{"rmsnorm_", 0.0f}, {"rmsnorm_plus_", 1.0f}}) {
    const std::string f32 = std::string(kind) + "f32", bf16s = std::string(kind) + "bf16";
    Floats w32 = testing::ops_golden(f32)["w"];
    compare_with_transformers(ctx_, f32, w32, plus);
    std::vector<bf16> wb;
    for (float v : Floats(testing::ops_golden(bf16s)["w"])) wb.push_back(to_bf16(v));
    compare_with_transformers(ctx_, bf16s, wb, plus);
  }
  std::vector<f16> wh;
  for (float v : Floats(testing::ops_golden("rmsnorm_f16")["w"])) wh.push_back(to_f16(v));
  compare_with_transformers(ctx_, "rmsnorm_f16", wh, 0.0f);
}

TEST_F(Norm, GradientIsTheDerivative) {
  for (const auto& [cols, plus] : {std::pair<int64_t, float>{1, 0.0f}, {16, 0.0f}, {40, 1.0f}}) {
    const int64_t rows = 3;
    const size_t n = size_t(rows * cols);
    Floats x = grid_values(n, 1), w = grid_values(size_t(cols), 2), dy = grid_values(n, 3);
    Floats y(n), rstd(size_t(rows), 0.0f), dx(n, 0.0f);
    const auto shaped = [&, width = cols](Floats& v) {
      return Tensor::of(std::span(v), {rows, width});
    };
    const RmsNorm norm{Tensor::of(std::span(w), {cols}), 0.5f, plus};
    const Tensor scale = Tensor::of(std::span(rstd), {rows});
    const auto loss = [&] {
      rmsnorm(ctx_, shaped(y), scale, shaped(x), norm);
      return testing::dot(y, dy);
    };
    loss();
    rmsnorm_backward(ctx_, shaped(dx), shaped(dy), shaped(x), norm, scale);
    testing::expect_gradient(x, dx, loss);
  }
}

TEST_F(Norm, MayWriteOverItsInput) {
  Floats x = grid_values(70, 4), w = grid_values(35, 5), y(70), rstd(2);
  const RmsNorm norm{Tensor::of(std::span(w), {35}), 1e-5f};
  const Tensor scale = Tensor::of(std::span(rstd), {2});
  const Tensor in = Tensor::of(std::span(x), {2, 35});
  rmsnorm(ctx_, Tensor::of(std::span(y), {2, 35}), scale, in, norm);
  rmsnorm(ctx_, in, scale, in, norm);
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
    const RmsNorm norm{Tensor::of(std::span(half), {cols}), 1e-5f, 1.0f};
    const Tensor scale = Tensor::of(std::span(rstd), {rows});
    rmsnorm(ctx, shaped(y), scale, shaped(x), norm);
    rmsnorm_backward(ctx, shaped(dx), shaped(dy), shaped(x), norm, scale);
    y.insert(y.end(), dx.begin(), dx.end());
    return y;
  });
}

TEST_F(Norm, RefusesWrongShapesAndTypes) {
  Floats x(20), w(9), rstd(2);
  const Tensor in = Tensor::of(std::span(x), {2, 10}), scale = Tensor::of(std::span(rstd), {2});
  const RmsNorm narrow{Tensor::of(std::span(w), {9})};
  EXPECT_THROW(rmsnorm(ctx_, in, scale, in, narrow), std::logic_error);
  std::vector<int32_t> ids(10);
  const RmsNorm of_ids{Tensor::of(std::span(ids), {10})};
  EXPECT_THROW(rmsnorm(ctx_, in, scale, in, of_ids), std::logic_error);
}

TEST_F(Norm, TouchesNothingWhileMeasuring) {
  Context measuring(Device::cpu(), 1, 0);
  const Tensor x(nullptr, DType::kF32, {4, 8}), rstd(nullptr, DType::kF32, {4});
  const Tensor w(nullptr, DType::kBF16, {8});
  rmsnorm(measuring, x, rstd, x, {w, 1e-5f});
  rmsnorm_backward(measuring, x, x, x, {w, 1e-5f}, rstd);
}

}  // namespace
}  // namespace tessera
