// Noise on the GPU: the CPU's, bit for bit, for any type and shape.
#include "runtime/ops/noise.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

TEST(CudaNoise, GivesTheBitsOfTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, n, 1);
    const Flat gpu_x(dtype, x, offset);
    const DropoutKey key{0x123456789abcdef0u, 7, 3, 11, 2};
    add_noise(gpu, gpu_x, key, 0.3f);
    add_noise(cpu, of(x), key, 0.3f);
    expect_same(dtype, gpu_x.values(gpu), x);
  });
}

TEST(CudaNoise, EveryPartOfTheKeyMatters) {
  DeviceContext gpu;
  CpuContext cpu;
  for (const DropoutKey& key :
       {DropoutKey{1ull << 63, 7, 3, 11, 2}, DropoutKey{1, 0xffffffffu, 3, 11, 2},
        DropoutKey{1, 7, 0xffffffffu, 11, 2}, DropoutKey{1, 7, 3, 0xffff, 2},
        DropoutKey{1, 7, 3, 11, 0xff}}) {
    Floats x(64, 1.0f);
    const Flat gpu_x(DType::kF32, x, 0);
    add_noise(gpu, gpu_x, key, 0.5f);
    add_noise(cpu, of(x), key, 0.5f);
    expect_same(DType::kF32, gpu_x.values(gpu), x);
  }
}

}  // namespace
}  // namespace tessera
