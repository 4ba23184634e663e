// Addition on the GPU: the CPU's bits, rounded to the type once.
#include "runtime/ops/add.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

TEST(CudaAdd, GivesTheBitsOfTheCpu) {
  over_flat_arrays([](DType dtype, int64_t n, int64_t offset) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, n, 1), y = normal_values(dtype, n, 2);
    const Flat gpu_x(dtype, x, offset), gpu_y(dtype, y, offset);
    add(gpu, gpu_y, gpu_x);
    add(cpu, of(y), of(x));
    expect_same(dtype, gpu_y.values(gpu), y);
    expect_same(dtype, gpu_x.values(gpu), x);
  });
}

TEST(CudaAdd, DoublesInPlace) {
  DeviceContext gpu(DType::kBF16);
  const Flat x(DType::kBF16, {1, 2, 3, 4, 5, 6, 7, 8, 9}, 0);
  add(gpu, x, x);
  expect_same(DType::kBF16, x.values(gpu), {2, 4, 6, 8, 10, 12, 14, 16, 18});
}

TEST(CudaAdd, AddsFloat32GradientsBesideAnyActivations) {
  DeviceContext gpu(DType::kBF16);
  const Flat x(DType::kF32, {1.0f, 0x1p-20f}, 0), y(DType::kF32, {1.0f, 1.0f}, 0);
  add(gpu, y, x);
  expect_same(DType::kF32, y.values(gpu), {2.0f, 1.0f + 0x1p-20f});
}

TEST(CudaAdd, AddsABiasToEveryRowAsTheCpuDoes) {
  for (DType dtype : kFloatTypes) {
    for (DType type_of_bias : kFloatTypes) {
      for (int64_t cols : {1, 7, 8, 96, 2056, 4099}) {
        SCOPED_TRACE(std::string(name_of(dtype)) + ", bias " + std::string(name_of(type_of_bias)) +
                     " x " + std::to_string(cols));
        DeviceContext gpu(dtype);
        CpuContext cpu;
        Floats y = normal_values(dtype, 3 * cols, 1);
        Floats bias = normal_values(type_of_bias, cols, 2);
        const OnDevice gpu_y(dtype, {3, cols}, y), gpu_bias(type_of_bias, {cols}, bias);
        add_bias(gpu, gpu_y, gpu_bias);
        add_bias(cpu, of(y, 3), of(bias));
        expect_same(dtype, gpu_y.values(gpu), y);
      }
    }
  }
}

TEST(CudaAdd, AddsABiasToRowsThatStartBesideARun) {
  DeviceContext gpu;
  CpuContext cpu;
  Floats y = normal_values(DType::kF32, 64, 1), bias = normal_values(DType::kF32, 32, 2);
  const Flat gpu_y(DType::kF32, y, 1), gpu_bias(DType::kF32, bias, 0);
  add_bias(gpu, Tensor(gpu_y).view({2, 32}), gpu_bias);
  add_bias(cpu, of(y, 2), of(bias));
  expect_same(DType::kF32, gpu_y.values(gpu), y);
}

TEST(CudaAdd, RefusesOtherTypes) {
  DeviceContext gpu(DType::kBF16);
  const Flat half(DType::kF16, {1}, 0), single(DType::kF32, {1}, 0), brain(DType::kBF16, {1}, 0);
  EXPECT_THROW(add(gpu, half, half), std::logic_error);
  EXPECT_THROW(add(gpu, single, brain), std::logic_error);
}

}  // namespace
}  // namespace tessera
