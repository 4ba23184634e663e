// The bound on logits on the GPU against the CPU.
#include "runtime/ops/softcap.h"

#include <limits>

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

// CUDA's tanhf is within 2 units in the last place and the CPU's within 4: 7.2e-7 together.
constexpr Noise kForward{1e-6};

TEST(CudaSoftcap, AgreesWithTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, n, 1, 60.0f);
    const Flat gpu_x(dtype, x, offset);
    softcap(gpu, gpu_x, 30.0f);
    softcap(cpu, of(x), 30.0f);
    expect_close(dtype, gpu_x.values(gpu), x, kForward);
  });
}

TEST(CudaSoftcap, BackwardGivesTheBitsOfTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats y = normal_values(dtype, n, 1, 10.0f), dx = normal_values(dtype, n, 2);
    const Flat gpu_y(dtype, y, offset), gpu_dx(dtype, dx, offset);
    softcap_backward(gpu, gpu_dx, gpu_y, 30.0f);
    softcap_backward(cpu, of(dx), of(y), 30.0f);
    expect_same(dtype, gpu_dx.values(gpu), dx);
    expect_same(dtype, gpu_y.values(gpu), y);
  });
}

TEST(CudaSoftcap, ExtremesAreTheCpus) {
  const float inf = std::numeric_limits<float>::infinity();
  DeviceContext gpu;
  CpuContext cpu;
  Floats x = {NAN, inf, -inf, 1e30f, -1e30f, 0.0f, -0.0f, 1e-30f};
  const Flat gpu_x(DType::kF32, x, 0);
  softcap(gpu, gpu_x, 30.0f);
  softcap(cpu, of(x), 30.0f);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(std::isnan(x[i])) << i;
  EXPECT_EQ(x[3], 30.0f);
  expect_close(DType::kF32, gpu_x.values(gpu), x, kForward);
}

TEST(CudaSoftcap, RefusesOtherTypes) {
  DeviceContext gpu(DType::kBF16);
  const Flat single(DType::kF32, {1}, 0), brain(DType::kBF16, {1}, 0);
  EXPECT_THROW(softcap(gpu, single, 30.0f), std::logic_error);
  EXPECT_THROW(softcap_backward(gpu, brain, single, 30.0f), std::logic_error);
}

}  // namespace
}  // namespace tessera
