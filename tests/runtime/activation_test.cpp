// SwiGLU and the residual addition against torch, finite differences, and their promise about bits.
#include "runtime/ops/activation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/ops/add.h"
#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Activation : public ::testing::Test {
 protected:
  Activation() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

TEST_F(Activation, AgreesWithTorch) {
  const auto golden = testing::ops_golden("swiglu");
  Floats gate = golden["gate"], up = golden["up"], dy = golden["dy"], y(gate.size());
  swiglu(ctx_, flat(y), flat(gate), flat(up));
  testing::expect_close(y, golden["y"], 3e-7);
  // In place: the gradients take the place of the saved values.
  swiglu_backward(ctx_, flat(gate), flat(up), flat(dy), flat(gate), flat(up));
  testing::expect_close(gate, golden["dgate"], 1e-6);
  testing::expect_close(up, golden["dup"], 1e-6);
}

TEST_F(Activation, GradientIsTheDerivative) {
  for (size_t n : {1u, 37u, 200u}) {
    Floats gate = grid_values(n, 1, 4.0f), up = grid_values(n, 2), dy = grid_values(n, 3);
    Floats y(n), dgate(n, 77.0f), dup(n, 77.0f);  // overwritten, whatever was there
    const auto loss = [&] {
      swiglu(ctx_, flat(y), flat(gate), flat(up));
      return testing::dot(y, dy);
    };
    swiglu_backward(ctx_, flat(dgate), flat(dup), flat(dy), flat(gate), flat(up));
    testing::expect_gradient(gate, dgate, loss);
    testing::expect_gradient(up, dup, loss);
  }
}

TEST_F(Activation, ExtremeGatesStayFiniteAndNanStaysNan) {
  Floats gate = {1e30f, -1e30f, 500.0f, -500.0f, NAN}, up(5, 1.0f), dy(5, 1.0f), y(5);
  swiglu(ctx_, flat(y), flat(gate), flat(up));
  EXPECT_EQ(y[0], 1e30f);
  EXPECT_NEAR(y[1], 0.0f, 1e-7);
  EXPECT_EQ(y[2], 500.0f);
  EXPECT_NEAR(y[3], 0.0f, 1e-30);
  EXPECT_TRUE(std::isnan(y[4]));
  swiglu_backward(ctx_, flat(gate), flat(up), flat(dy), flat(gate), flat(up));
  EXPECT_EQ(gate[0], 1.0f);
  EXPECT_NEAR(gate[1], 0.0f, 1e-7);
  EXPECT_EQ(gate[2], 1.0f);
  EXPECT_TRUE(std::isnan(gate[4]) && std::isnan(up[4]));
}

TEST_F(Activation, SameBitsOnAnyThreadCountAndTarget) {
  const size_t n = 100003;
  testing::expect_same_bits([&](Context& ctx) {
    Floats gate = grid_values(n, 4, 20.0f), up = grid_values(n, 5), dy = grid_values(n, 6), y(n);
    swiglu(ctx, flat(y), flat(gate), flat(up));
    swiglu_backward(ctx, flat(gate), flat(up), flat(dy), flat(gate), flat(up));
    add(ctx, flat(y), flat(gate));
    y.insert(y.end(), up.begin(), up.end());
    return y;
  });
}

TEST_F(Activation, AddAddsInPlace) {
  for (size_t n : {1u, 16u, 33u, 40000u}) {
    Floats x = grid_values(n, 7), y = grid_values(n, 8), expected(n);
    for (size_t i = 0; i < n; ++i) expected[i] = x[i] + y[i];
    add(ctx_, flat(y), flat(x));
    EXPECT_EQ(y, expected);
    add(ctx_, flat(x), flat(x));
    EXPECT_EQ(x[n - 1], 2 * grid_values(n, 7)[n - 1]);
  }
}

TEST_F(Activation, RefusesWrongShapes) {
  Floats a(8), b(9);
  EXPECT_THROW(add(ctx_, flat(a), flat(b)), std::logic_error);
  EXPECT_THROW(swiglu(ctx_, flat(a), flat(a), flat(b)), std::logic_error);
  EXPECT_THROW(swiglu_backward(ctx_, flat(a), flat(a), flat(b), flat(a), flat(a)),
               std::logic_error);
}

}  // namespace
}  // namespace tessera
