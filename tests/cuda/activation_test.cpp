// Gated linear units on the GPU against the CPU.
#include "runtime/ops/activation.h"

#include <limits>

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

// CUDA's expf is within 2 units in the last place (2.4e-7), the CPU's polynomial within 2e-7;
// measured 2.6e-7 with an exact expf.
constexpr Noise kForward{1e-6};
// A slope is s * (1 + z * (1 - s)), whose two terms cancel near z = -1.28; gradients are products
// of two values that stay below 5 here. Measured 4.4e-7.
constexpr Noise kBackward{2e-6, 1e-5};
// GELU's argument has the CPU's bits. Far below zero its results have fewer digits than float32 has
// elsewhere. Its slope multiplies a rounded 1 - s by up to 30.
constexpr Noise kGeluForward{1e-6, 1e-30};
constexpr Noise kGeluBackward{8e-6, 1e-5};

struct Glu {
  Activation activation;
  Noise forward, backward;
};
constexpr Glu kGlus[] = {{Activation::kSilu, kForward, kBackward},
                         {Activation::kGeluTanh, kGeluForward, kGeluBackward}};

TEST(CudaGlu, AgreesWithTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats gate = normal_values(dtype, n, 1, 3.0f), up = normal_values(dtype, n, 2);
    Floats y(size_t(n), -1.0f);
    for (const Glu& glu_of : kGlus) {
      const Activation act = glu_of.activation;
      const Flat gpu_gate(dtype, gate, offset), gpu_up(dtype, up, offset), gpu_y(dtype, y, offset);
      glu(gpu, gpu_y, {gpu_gate, gpu_up, act});
      glu(cpu, of(y), {of(gate), of(up), act});
      expect_close(dtype, gpu_y.values(gpu), y, glu_of.forward);
      glu(gpu, gpu_gate, {gpu_gate, gpu_up, act});
      expect_same(dtype, gpu_gate.values(gpu), gpu_y.values(gpu));
    }
  });
}

TEST(CudaGlu, BackwardAgreesWithTheCpuInPlaceToo) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats gate = normal_values(dtype, n, 1, 3.0f), up = normal_values(dtype, n, 2);
    Floats dy = normal_values(dtype, n, 3), dgate(static_cast<size_t>(n)), dup = dgate;
    const Flat gpu_dy(dtype, dy, offset);
    for (const Glu& glu_of : kGlus) {
      const Flat gpu_gate(dtype, gate, offset), gpu_up(dtype, up, offset);
      const Flat gpu_dgate(dtype, dgate, offset), gpu_dup(dtype, dup, offset);
      const GluInput in{gpu_gate, gpu_up, glu_of.activation};
      glu_backward(gpu, gpu_dgate, gpu_dup, gpu_dy, in);
      glu_backward(cpu, of(dgate), of(dup), of(dy), {of(gate), of(up), glu_of.activation});
      expect_close(dtype, gpu_dgate.values(gpu), dgate, glu_of.backward);
      expect_close(dtype, gpu_dup.values(gpu), dup, glu_of.forward);
      glu_backward(gpu, gpu_gate, gpu_up, gpu_dy, in);
      expect_same(dtype, gpu_gate.values(gpu), gpu_dgate.values(gpu));
      expect_same(dtype, gpu_up.values(gpu), gpu_dup.values(gpu));
    }
  });
}

TEST(CudaGlu, ExtremesAreTheCpus) {
  const float inf = std::numeric_limits<float>::infinity();
  DeviceContext gpu;
  CpuContext cpu;
  Floats gate = {NAN, 1e4f, -1e4f, 100.0f, -100.0f, -88.0f, 0.0f, -inf, inf}, up(9, 1.0f);
  Floats y(9), dgate(9), dup(9), dy(9, 1.0f);
  const Flat z(DType::kF32, gate, 0), u(DType::kF32, up, 0), g(DType::kF32, dy, 0);
  const Flat out(DType::kF32, y, 0), to_gate(DType::kF32, y, 0), to_up(DType::kF32, y, 0);
  const auto same_kind = [&](const Floats& a, const Floats& b) {
    for (size_t i = 0; i < gate.size(); ++i) {
      EXPECT_EQ(std::isnan(a[i]), std::isnan(b[i])) << gate[i];
      EXPECT_EQ(std::isinf(a[i]), std::isinf(b[i])) << gate[i];
      if (!std::isfinite(a[i])) continue;
      EXPECT_NEAR(a[i], b[i], 1e-30 + 1e-5 * std::abs(double(b[i]))) << gate[i];
    }
  };
  for (const Glu& glu_of : kGlus) {
    const Activation act = glu_of.activation;
    glu(gpu, out, {z, u, act});
    glu(cpu, of(y), {of(gate), of(up), act});
    glu_backward(gpu, to_gate, to_up, g, {z, u, act});
    glu_backward(cpu, of(dgate), of(dup), of(dy), {of(gate), of(up), act});
    same_kind(out.values(gpu), y);
    same_kind(to_gate.values(gpu), dgate);
    same_kind(to_up.values(gpu), dup);
  }
}

}  // namespace
}  // namespace tessera
