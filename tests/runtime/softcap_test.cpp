// The bound on logits against torch, finite differences, and its promise about bits.
#include "runtime/ops/softcap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Softcap : public ::testing::Test {
 protected:
  Softcap() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

TEST_F(Softcap, AgreesWithTorch) {
  const auto golden = testing::ops_golden("softcap");
  const float cap = golden["cap"];
  Floats x = golden["x"], dx = golden["dy"];
  softcap(ctx_, flat(x), cap);
  testing::expect_close(x, golden["y"], 1e-6);
  softcap_backward(ctx_, flat(dx), flat(x), cap);
  testing::expect_close(dx, golden["dx"], 3e-6);  // 1 - tanh^2 has twice the error of tanh
}

TEST_F(Softcap, GradientIsTheDerivative) {
  for (size_t n : {1u, 37u, 200u}) {
    Floats x = grid_values(n, 1, 4.0f), dy = grid_values(n, 2), y, dx = dy;
    const auto loss = [&] {
      y = x;
      softcap(ctx_, flat(y), 3.0f);
      return testing::dot(y, dy);
    };
    loss();
    softcap_backward(ctx_, flat(dx), flat(y), 3.0f);
    testing::expect_gradient(x, dx, loss);
  }
}

TEST_F(Softcap, IsExactNearZeroAndHidesNothingThatIsNotFinite) {
  Floats x = {1e-30f, -1e-5f, 0.0f, 1e30f, -1e30f, NAN, INFINITY, -INFINITY};
  softcap(ctx_, flat(x), 50.0f);
  EXPECT_NEAR(x[0], 1e-30, 1e-36);
  EXPECT_NEAR(x[1], -1e-5, 1e-11);
  EXPECT_EQ(x[2], 0.0f);
  EXPECT_EQ(x[3], 50.0f);
  EXPECT_EQ(x[4], -50.0f);
  for (size_t i = 5; i < 8; ++i) EXPECT_TRUE(std::isnan(x[i])) << i;
  Floats dx(8, 1.0f);
  softcap_backward(ctx_, flat(dx), flat(x), 50.0f);
  EXPECT_EQ(dx[2], 1.0f);
  EXPECT_EQ(dx[3], 0.0f);
  EXPECT_TRUE(std::isnan(dx[5]));
}

TEST_F(Softcap, SameBitsOnAnyThreadCountAndTarget) {
  const size_t n = 100003;
  testing::expect_same_bits([&](Context& ctx) {
    Floats x = grid_values(n, 4, 100.0f), dx = grid_values(n, 5);
    softcap(ctx, flat(x), 30.0f);
    softcap_backward(ctx, flat(dx), flat(x), 30.0f);
    x.insert(x.end(), dx.begin(), dx.end());
    return x;
  });
}

TEST_F(Softcap, RefusesWrongShapesAndCaps) {
  Floats a(8), b(9);
  EXPECT_THROW(softcap(ctx_, flat(a), 0.0f), std::logic_error);
  EXPECT_THROW(softcap_backward(ctx_, flat(a), flat(b), 30.0f), std::logic_error);
}

TEST_F(Softcap, TouchesNothingWhileMeasuring) {
  Context measuring(Device::cpu(), 1, 0);
  const Tensor x(nullptr, DType::kF32, {4, 8});
  softcap(measuring, x, 30.0f);
  softcap_backward(measuring, x, x, 30.0f);
}

}  // namespace
}  // namespace tessera
