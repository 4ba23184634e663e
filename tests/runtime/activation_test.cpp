// Gated linear units against torch, finite differences, and their promise about bits.
#include "runtime/ops/activation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/bits_check.h"
#include "tests/golden/ops/ops_golden.h"
#include "tests/gradient_check.h"

namespace tessera {
namespace {

using testing::grid_values;
using Floats = std::vector<float>;

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh};

Tensor flat(Floats& v) { return Tensor::of(std::span(v), {int64_t(v.size())}); }

class Glu : public ::testing::Test {
 protected:
  Glu() : ctx_(Device::cpu(), 2, 0) { testing::give_scratch(ctx_); }
  Context ctx_;
};

TEST_F(Glu, AgreesWithTorch) {
  for (Activation act : kActivations) {
    const auto golden = testing::ops_golden(act == Activation::kSilu ? "swiglu" : "geglu");
    Floats gate = golden["gate"], up = golden["up"], dy = golden["dy"], y(gate.size());
    const GluInput in{flat(gate), flat(up), act};
    glu(ctx_, flat(y), in);
    testing::expect_close(y, golden["y"], 3e-7);
    // In place: the gradients take the place of the saved values.
    glu_backward(ctx_, flat(gate), flat(up), flat(dy), in);
    testing::expect_close(gate, golden["dgate"], 1e-6);
    testing::expect_close(up, golden["dup"], 1e-6);
  }
}

TEST_F(Glu, GradientIsTheDerivative) {
  for (Activation act : kActivations) {
    for (size_t n : {1u, 37u, 200u}) {
      Floats gate = grid_values(n, 1, 4.0f), up = grid_values(n, 2), dy = grid_values(n, 3);
      Floats y(n), dgate(n, 77.0f), dup(n, 77.0f);  // overwritten, whatever was there
      const GluInput in{flat(gate), flat(up), act};
      const auto loss = [&] {
        glu(ctx_, flat(y), in);
        return testing::dot(y, dy);
      };
      glu_backward(ctx_, flat(dgate), flat(dup), flat(dy), in);
      testing::expect_gradient(gate, dgate, loss);
      testing::expect_gradient(up, dup, loss);
    }
  }
}

TEST_F(Glu, ExtremeGatesStayFiniteAndNanStaysNan) {
  // GELU's argument grows as z^3, which float32 cannot hold beyond 1e13.
  for (const auto& [act, most] :
       {std::pair{Activation::kSilu, 1e30f}, {Activation::kGeluTanh, 1e6f}}) {
    Floats gate = {most, -most, 500.0f, -500.0f, NAN}, up(5, 1.0f), dy(5, 1.0f), y(5);
    const GluInput in{flat(gate), flat(up), act};
    glu(ctx_, flat(y), in);
    EXPECT_EQ(y[0], most);
    EXPECT_NEAR(y[1], 0.0f, 1e-7);
    EXPECT_EQ(y[2], 500.0f);
    EXPECT_NEAR(y[3], 0.0f, 1e-30);
    EXPECT_TRUE(std::isnan(y[4]));
    glu_backward(ctx_, flat(gate), flat(up), flat(dy), in);
    EXPECT_EQ(gate[0], 1.0f);
    EXPECT_NEAR(gate[1], 0.0f, 1e-7);
    EXPECT_EQ(gate[2], 1.0f);
    EXPECT_TRUE(std::isnan(gate[4]) && std::isnan(up[4]));
  }
}

TEST_F(Glu, SameBitsOnAnyThreadCountAndTarget) {
  const size_t n = 100003;
  for (Activation act : kActivations) {
    testing::expect_same_bits([&](Context& ctx) {
      Floats gate = grid_values(n, 4, 20.0f), up = grid_values(n, 5), dy = grid_values(n, 6), y(n);
      const GluInput in{flat(gate), flat(up), act};
      glu(ctx, flat(y), in);
      glu_backward(ctx, flat(gate), flat(up), flat(dy), in);
      y.insert(y.end(), gate.begin(), gate.end());
      y.insert(y.end(), up.begin(), up.end());
      return y;
    });
  }
}

TEST_F(Glu, RefusesWrongShapes) {
  Floats a(8), b(9);
  const GluInput uneven{flat(a), flat(b), Activation::kSilu};
  EXPECT_THROW(glu(ctx_, flat(a), uneven), std::logic_error);
  const GluInput in{flat(a), flat(a), Activation::kSilu};
  EXPECT_THROW(glu_backward(ctx_, flat(a), flat(a), flat(b), in), std::logic_error);
}

}  // namespace
}  // namespace tessera
