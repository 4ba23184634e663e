// Rows moved on the GPU: the CPU's bits, and nothing else touched.
#include "runtime/ops/rows.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;
using Index = std::vector<int32_t>;

template <class F>
void over_rows(F&& f) {
  for (DType dtype : kFloatTypes) {
    for (int64_t cols : {1, 7, 8, 96, 2056, 4099}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(cols));
      f(dtype, cols);
    }
  }
}

TEST(CudaRows, GathersTheBitsOfTheCpu) {
  over_rows([](DType dtype, int64_t cols) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, 6 * cols, 1), y(size_t(4 * cols));
    const Index index = {5, 0, 2, 2};
    const OnDevice gpu_x(dtype, {6, cols}, x), gpu_y(dtype, {4, cols});
    gather_rows(gpu, gpu_y, gpu_x, index);
    gather_rows(cpu, of(y, 4), of(x, 6), index);
    expect_same(dtype, gpu_y.values(gpu), y);
  });
}

TEST(CudaRows, ScattersTheBitsOfTheCpu) {
  over_rows([](DType dtype, int64_t cols) {
    DeviceContext gpu(dtype);
    CpuContext cpu;
    Floats x = normal_values(dtype, 3 * cols, 1), y = normal_values(dtype, 6 * cols, 2);
    const Index index = {5, 0, 3};
    const OnDevice gpu_x(dtype, {3, cols}, x), gpu_y(dtype, {6, cols}, y);
    scatter_rows(gpu, gpu_y, gpu_x, index);
    scatter_rows(cpu, of(y, 6), of(x, 3), index);
    expect_same(dtype, gpu_y.values(gpu), y);
  });
}

TEST(CudaRows, ClearsWhatItIsGivenAndNoMore) {
  for (DType dtype : kFloatTypes) {
    DeviceContext gpu(dtype);
    const OnDevice x(dtype, {3, 5}, Floats(15, 1.0f));
    fill_zero(gpu, x.tensor().slice(1, 2));
    Floats expected(15, 1.0f);
    for (size_t i = 5; i < 10; ++i) expected[i] = 0.0f;
    expect_same(dtype, x.values(gpu), expected);
  }
}

TEST(CudaRows, TheIndexMayGoAwayAfterTheCallAndBeEmpty) {
  DeviceContext gpu;
  const OnDevice x(DType::kF32, {3, 1}, {1, 2, 3}), y(DType::kF32, {2, 1}, {7, 8});
  gather_rows(gpu, y.tensor().slice(0, 0), x, Index{});
  expect_same(DType::kF32, y.values(gpu), {7, 8});
  gather_rows(gpu, y, x, Index{2, 1});
  expect_same(DType::kF32, y.values(gpu), {3, 2});
}

TEST(CudaRows, RefusesAnIndexOutsideTheMatrix) {
  DeviceContext gpu;
  const OnDevice x(DType::kF32, {3, 1}), y(DType::kF32, {1, 1});
  EXPECT_THROW(gather_rows(gpu, y, x, Index{3}), std::logic_error);
  EXPECT_THROW(scatter_rows(gpu, x, y, Index{-1}), std::logic_error);
}

TEST(CudaRows, PlansTheScratchThatItTakes) {
  DeviceContext gpu;
  Context planned(test_device(), 1, 7);
  const OnDevice x(DType::kF32, {3, 1}, {1, 2, 3}), y(DType::kF32, {3, 1});
  for (Context* ctx : {static_cast<Context*>(&gpu), &planned}) {
    gather_rows(*ctx, y, x, Index{2, 1, 0});
    EXPECT_EQ(ctx->scratch().high_water(), 256u);
    scatter_rows(*ctx, y, x, Index{2, 1, 0});
    EXPECT_EQ(ctx->scratch().high_water(), 256u);
    EXPECT_EQ(ctx->scratch().used(), 0u);
  }
}

}  // namespace
}  // namespace tessera
