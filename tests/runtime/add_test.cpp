// Additions in place: values, gradient of a biased matrix, and their promise about bits.
#include "runtime/ops/add.h"

#include <gtest/gtest.h>

#include "tests/bits_check.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Add : public ::testing::Test {
 protected:
  Add() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

TEST_F(Add, AddsInPlace) {
  for (size_t n : {1u, 16u, 33u, 40000u}) {
    Floats x = grid_values(n, 7), y = grid_values(n, 8), expected(n);
    for (size_t i = 0; i < n; ++i) expected[i] = x[i] + y[i];
    add(ctx_, flat(y), flat(x));
    EXPECT_EQ(y, expected);
    add(ctx_, flat(x), flat(x));
    EXPECT_EQ(x[n - 1], 2 * grid_values(n, 7)[n - 1]);
  }
}

/// The bias in a type of a checkpoint, and what it is.
template <class T>
void expect_added(Context& ctx, int64_t rows, int64_t cols, T (*stored)(float)) {
  const size_t n = size_t(rows * cols);
  Floats y = grid_values(n, 1), expected = y, drawn = grid_values(size_t(cols), 2, 3.0f);
  std::vector<T> bias;
  for (float v : drawn) bias.push_back(stored(v));
  for (size_t i = 0; i < n; ++i) expected[i] += to_float(bias[i % size_t(cols)]);
  add_bias(ctx, Tensor::of(std::span(y), {rows, cols}), Tensor::of(std::span(bias), {cols}));
  EXPECT_EQ(y, expected) << rows << " x " << cols;
}

TEST_F(Add, AddsABiasOfAnyTypeToEveryRow) {
  for (int64_t cols : {1, 16, 37, 200}) {
    for (int64_t rows : {1, 5, 300}) {
      expect_added<float>(ctx_, rows, cols, [](float v) { return v; });
      expect_added<bf16>(ctx_, rows, cols, to_bf16);
      expect_added<f16>(ctx_, rows, cols, to_f16);
    }
  }
}

TEST_F(Add, ABiasLeavesTheGradientAsItIs) {
  Floats x = grid_values(63, 1), dy = grid_values(63, 2), bias = grid_values(21, 3), y;
  const auto loss = [&] {
    y = x;
    add_bias(ctx_, Tensor::of(std::span(y), {3, 21}), flat(bias));
    return testing::dot(y, dy);
  };
  testing::expect_gradient(x, dy, loss);
}

TEST_F(Add, SameBitsOnAnyThreadCountAndTarget) {
  const int64_t rows = 700, cols = 173;
  testing::expect_same_bits([&](Context& ctx) {
    Floats y = grid_values(size_t(rows * cols), 4, 20.0f), x = grid_values(y.size(), 5);
    Floats bias = grid_values(size_t(cols), 6);
    add(ctx, flat(y), flat(x));
    add_bias(ctx, Tensor::of(std::span(y), {rows, cols}), flat(bias));
    return y;
  });
}

TEST_F(Add, RefusesWrongShapesAndTypes) {
  Floats a(8), b(9);
  EXPECT_THROW(add(ctx_, flat(a), flat(b)), std::logic_error);
  EXPECT_THROW(add_bias(ctx_, flat(a), flat(b)), std::logic_error);
  std::vector<int32_t> ids(8);
  EXPECT_THROW(add_bias(ctx_, flat(a), Tensor::of(std::span(ids), {8})), std::logic_error);
}

TEST_F(Add, TouchesNothingWhileMeasuring) {
  Context measuring(Device::cpu(), 1, 0);
  add_bias(measuring, Tensor(nullptr, DType::kF32, {4, 8}), Tensor(nullptr, DType::kBF16, {8}));
}

}  // namespace
}  // namespace tessera
