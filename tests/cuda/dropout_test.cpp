// Dropout on the GPU: the CPU's mask, bit for bit, for any type and shape.
#include "runtime/ops/dropout.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

constexpr DropoutKey kKey{0x123456789abcdef0u, 7, 3, 11, 2};

TEST(CudaDropout, GivesTheBitsOfTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, n, 1), y(static_cast<size_t>(n));
    const Flat gpu_x(dtype, x, offset), gpu_y(dtype, y, offset);
    for (float p : {0.0f, 0.1f, 0.9f}) {
      dropout(gpu, gpu_y, gpu_x, kKey, p);
      dropout(cpu, of(y), of(x), kKey, p);
      expect_same(dtype, gpu_y.values(gpu), y);
    }
    dropout(gpu, gpu_x, gpu_x, kKey, 0.9f);
    expect_same(dtype, gpu_x.values(gpu), y);
  });
}

TEST(CudaDropout, BackwardAddsTheSameMask) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats dy = normal_values(dtype, n, 1), dx = normal_values(dtype, n, 2);
    const Flat gpu_dy(dtype, dy, offset), gpu_dx(dtype, dx, offset);
    dropout_backward(gpu, gpu_dx, gpu_dy, kKey, 0.3f);
    dropout_backward(cpu, of(dx), of(dy), kKey, 0.3f);
    expect_same(dtype, gpu_dx.values(gpu), dx);
  });
}

TEST(CudaDropout, EveryPartOfTheKeyMatters) {
  DeviceContext gpu;
  CpuContext cpu;
  Floats x(64, 1.0f), y(64);
  const Flat gpu_x(DType::kF32, x, 0), gpu_y(DType::kF32, y, 0);
  for (const DropoutKey& key :
       {DropoutKey{1ull << 63, 7, 3, 11, 2}, DropoutKey{1, 0xffffffffu, 3, 11, 2},
        DropoutKey{1, 7, 0xffffffffu, 11, 2}, DropoutKey{1, 7, 3, 0xffff, 2},
        DropoutKey{1, 7, 3, 11, 0xff}}) {
    dropout(gpu, gpu_y, gpu_x, key, 0.5f);
    dropout(cpu, of(y), of(x), key, 0.5f);
    expect_same(DType::kF32, gpu_y.values(gpu), y);
  }
}

}  // namespace
}  // namespace tessera
