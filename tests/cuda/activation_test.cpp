// SwiGLU on the GPU against the CPU.
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

TEST(CudaSwiglu, AgreesWithTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats gate = normal_values(dtype, n, 1, 3.0f), up = normal_values(dtype, n, 2);
    Floats y(size_t(n), -1.0f);
    const Flat gpu_gate(dtype, gate, offset), gpu_up(dtype, up, offset), gpu_y(dtype, y, offset);
    swiglu(gpu, gpu_y, gpu_gate, gpu_up);
    swiglu(cpu, of(y), of(gate), of(up));
    expect_close(dtype, gpu_y.values(gpu), y, kForward);
    swiglu(gpu, gpu_gate, gpu_gate, gpu_up);
    expect_same(dtype, gpu_gate.values(gpu), gpu_y.values(gpu));
  });
}

TEST(CudaSwiglu, BackwardAgreesWithTheCpuInPlaceToo) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats gate = normal_values(dtype, n, 1, 3.0f), up = normal_values(dtype, n, 2);
    Floats dy = normal_values(dtype, n, 3), dgate(static_cast<size_t>(n)), dup = dgate;
    const Flat gpu_gate(dtype, gate, offset), gpu_up(dtype, up, offset), gpu_dy(dtype, dy, offset);
    const Flat gpu_dgate(dtype, dgate, offset), gpu_dup(dtype, dup, offset);
    swiglu_backward(gpu, gpu_dgate, gpu_dup, gpu_dy, gpu_gate, gpu_up);
    swiglu_backward(cpu, of(dgate), of(dup), of(dy), of(gate), of(up));
    expect_close(dtype, gpu_dgate.values(gpu), dgate, kBackward);
    expect_close(dtype, gpu_dup.values(gpu), dup, kForward);
    swiglu_backward(gpu, gpu_gate, gpu_up, gpu_dy, gpu_gate, gpu_up);
    expect_same(dtype, gpu_gate.values(gpu), gpu_dgate.values(gpu));
    expect_same(dtype, gpu_up.values(gpu), gpu_dup.values(gpu));
  });
}

TEST(CudaSwiglu, ExtremesAreTheCpus) {
  const float inf = std::numeric_limits<float>::infinity();
  DeviceContext gpu;
  CpuContext cpu;
  Floats gate = {NAN, 1e4f, -1e4f, 100.0f, -100.0f, -88.0f, 0.0f, -inf, inf}, up(9, 1.0f);
  Floats y(9), dgate(9), dup(9), dy(9, 1.0f);
  const Flat z(DType::kF32, gate, 0), u(DType::kF32, up, 0), g(DType::kF32, dy, 0);
  const Flat out(DType::kF32, y, 0), to_gate(DType::kF32, y, 0), to_up(DType::kF32, y, 0);
  swiglu(gpu, out, z, u);
  swiglu(cpu, of(y), of(gate), of(up));
  swiglu_backward(gpu, to_gate, to_up, g, z, u);
  swiglu_backward(cpu, of(dgate), of(dup), of(dy), of(gate), of(up));
  for (size_t i = 0; i < gate.size(); ++i) {
    const auto same_kind = [&](float a, float b) {
      EXPECT_EQ(std::isnan(a), std::isnan(b)) << gate[i];
      EXPECT_EQ(std::isinf(a), std::isinf(b)) << gate[i];
      if (!std::isfinite(a)) return;
      EXPECT_NEAR(a, b, 1e-30 + 1e-5 * std::abs(double(b))) << gate[i];
    };
    same_kind(out.values(gpu)[i], y[i]);
    same_kind(to_gate.values(gpu)[i], dgate[i]);
    same_kind(to_up.values(gpu)[i], dup[i]);
  }
}

}  // namespace
}  // namespace tessera
