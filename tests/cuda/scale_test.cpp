// Multiplication by a constant on the GPU: the CPU's bits, rounded to the type once.
#include "runtime/ops/scale.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

TEST(CudaScale, GivesTheBitsOfTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, n, 1);
    const Flat gpu_x(dtype, x, offset);
    scale(gpu, gpu_x, 0.3f);
    scale(cpu, of(x), 0.3f);
    expect_same(dtype, gpu_x.values(gpu), x);
  });
}

TEST(CudaScale, LeavesAnEmptyTensorAlone) {
  DeviceContext gpu;
  scale(gpu, Tensor(nullptr, DType::kF32, {0, 8}, test_device()), 2.0f);
  gpu.compute_stream().synchronize();
}

}  // namespace
}  // namespace tessera
