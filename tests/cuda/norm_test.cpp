// RMSNorm on the GPU against the CPU: rows of a warp and of a block, whole runs and odd widths, all
// types of activations and weights.
#include "runtime/ops/norm.h"

#include "tests/cuda/against_cpu.h"

namespace tessera {
namespace {

using namespace testing;

// Both sum squares in float32, in different orders: at most 3.0e-7 was measured (three units in the
// last place) for up to 4,100 columns.
constexpr Noise kForward{1e-6};
// The mean of g * n is such a sum of either sign, and what is subtracted may leave little: measured
// 1.2e-7 beyond the relative noise.
constexpr Noise kBackward{1e-6, 4e-6};

struct Case {
  DType activation;
  DType weight;
  int64_t rows;
  int64_t cols;
};

template <class F>
void over_cases(F&& f) {
  struct Shape {
    int64_t rows, cols;
  };
  for (DType activation : kFloatTypes) {
    for (DType weight : kFloatTypes) {
      for (const Shape& s : {Shape{1, 1}, Shape{9, 7}, Shape{17, 64}, Shape{3, 129}, Shape{2, 1024},
                             Shape{3, 1032}, Shape{2, 4099}}) {
        SCOPED_TRACE(std::string(name_of(activation)) + ", weight " + std::string(name_of(weight)) +
                     ", " + std::to_string(s.rows) + " x " + std::to_string(s.cols));
        f(Case{activation, weight, s.rows, s.cols});
      }
    }
  }
}

TEST(CudaRmsnorm, AgreesWithTheCpu) {
  over_cases([](const Case& c) {
    DeviceContext gpu(c.activation);
    CpuContext cpu;
    Floats x = normal_values(c.activation, c.rows * c.cols, 1, 2.0f);
    Floats w = normal_values(c.weight, c.cols, 2), y(x.size()), rstd(size_t(c.rows));
    const OnDevice gpu_x(c.activation, {c.rows, c.cols}, x), gpu_w(c.weight, {c.cols}, w);
    const OnDevice gpu_y(c.activation, {c.rows, c.cols}), gpu_rstd(DType::kF32, {c.rows});
    rmsnorm(gpu, gpu_y, gpu_rstd, gpu_x, {gpu_w, 1e-5f});
    rmsnorm(cpu, of(y, c.rows), of(rstd), of(x, c.rows), {of(w), 1e-5f});
    expect_close(DType::kF32, gpu_rstd.values(gpu), rstd, kForward);
    expect_close(c.activation, gpu_y.values(gpu), y, kForward);
    rmsnorm(gpu, gpu_x, gpu_rstd, gpu_x, {gpu_w, 1e-5f});
    expect_same(c.activation, gpu_x.values(gpu), gpu_y.values(gpu));
  });
}

TEST(CudaRmsnorm, BackwardAddsWhatTheCpuAdds) {
  over_cases([](const Case& c) {
    DeviceContext gpu(c.activation);
    CpuContext cpu;
    const int64_t n = c.rows * c.cols;
    Floats x = normal_values(c.activation, n, 1, 2.0f), dy = normal_values(c.activation, n, 3);
    Floats dx = normal_values(c.activation, n, 4), w = normal_values(c.weight, c.cols, 2);
    Floats rstd(static_cast<size_t>(c.rows));
    for (size_t i = 0; i < rstd.size(); ++i) rstd[i] = 0.5f + 0.01f * float(i);
    const OnDevice gpu_x(c.activation, {c.rows, c.cols}, x), gpu_w(c.weight, {c.cols}, w);
    const OnDevice gpu_dy(c.activation, {c.rows, c.cols}, dy);
    const OnDevice gpu_dx(c.activation, {c.rows, c.cols}, dx);
    const OnDevice gpu_rstd(DType::kF32, {c.rows}, rstd);
    rmsnorm_backward(gpu, gpu_dx, gpu_dy, gpu_x, {gpu_w}, gpu_rstd);
    rmsnorm_backward(cpu, of(dx, c.rows), of(dy, c.rows), of(x, c.rows), {of(w)}, of(rstd));
    expect_close(c.activation, gpu_dx.values(gpu), dx, kBackward);
  });
}

TEST(CudaRmsnorm, AddsToEveryWeight) {
  for (const Case& c : {Case{DType::kF32, DType::kF32, 3, 129},
                        {DType::kBF16, DType::kF16, 2, 64},
                        {DType::kF16, DType::kBF16, 2, 1032}}) {
    DeviceContext gpu(c.activation);
    CpuContext cpu;
    const int64_t n = c.rows * c.cols;
    Floats x = normal_values(c.activation, n, 1, 2.0f), dy = normal_values(c.activation, n, 3);
    Floats w = normal_values(c.weight, c.cols, 2), dx(x.size(), 0.0f), y(x.size());
    Floats rstd(static_cast<size_t>(c.rows));
    const OnDevice gpu_x(c.activation, {c.rows, c.cols}, x), gpu_w(c.weight, {c.cols}, w);
    const OnDevice gpu_dy(c.activation, {c.rows, c.cols}, dy);
    const OnDevice gpu_dx(c.activation, {c.rows, c.cols}, dx);
    const OnDevice gpu_y(c.activation, {c.rows, c.cols}), gpu_rstd(DType::kF32, {c.rows});
    const RmsNorm of_gpu{gpu_w, 1e-6f, 1.0f}, of_cpu{of(w), 1e-6f, 1.0f};
    rmsnorm(gpu, gpu_y, gpu_rstd, gpu_x, of_gpu);
    rmsnorm(cpu, of(y, c.rows), of(rstd), of(x, c.rows), of_cpu);
    expect_close(c.activation, gpu_y.values(gpu), y, kForward);
    rmsnorm_backward(gpu, gpu_dx, gpu_dy, gpu_x, of_gpu, gpu_rstd);
    rmsnorm_backward(cpu, of(dx, c.rows), of(dy, c.rows), of(x, c.rows), of_cpu, of(rstd));
    expect_close(c.activation, gpu_dx.values(gpu), dx, kBackward);
  }
}

TEST(CudaRmsnorm, WorksOnRowsThatStartBesideARun) {
  DeviceContext gpu;
  CpuContext cpu;
  Floats x = normal_values(DType::kF32, 64, 1), w = normal_values(DType::kF32, 32, 2);
  Floats y(64), rstd(2);
  const Flat gpu_x(DType::kF32, x, 1), gpu_w(DType::kF32, w, 0), gpu_y(DType::kF32, y, 1);
  const OnDevice gpu_rstd(DType::kF32, {2});
  rmsnorm(gpu, Tensor(gpu_y).view({2, 32}), gpu_rstd, Tensor(gpu_x).view({2, 32}), {gpu_w, 1e-6f});
  rmsnorm(cpu, of(y, 2), of(rstd), of(x, 2), {of(w), 1e-6f});
  expect_close(DType::kF32, gpu_y.values(gpu), y, kForward);
}

TEST(CudaRmsnorm, ZerosAndNanAreTheCpus) {
  DeviceContext gpu;
  CpuContext cpu;
  Floats x(16, 0.0f), w(8, 1.0f), y(16), rstd(2);
  x[11] = NAN;
  const OnDevice gpu_x(DType::kF32, {2, 8}, x), gpu_w(DType::kF32, {8}, w);
  const OnDevice gpu_y(DType::kF32, {2, 8}), gpu_rstd(DType::kF32, {2});
  rmsnorm(gpu, gpu_y, gpu_rstd, gpu_x, {gpu_w, 1e-6f});
  rmsnorm(cpu, of(y, 2), of(rstd), of(x, 2), {of(w), 1e-6f});
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(gpu_y.values(gpu)[i], 0.0f);
  for (size_t i = 8; i < 16; ++i) EXPECT_TRUE(std::isnan(gpu_y.values(gpu)[i]));
}

TEST(CudaRmsnorm, RefusesOtherTypes) {
  DeviceContext gpu(DType::kBF16);
  const OnDevice x(DType::kF32, {2, 8}), w(DType::kF32, {8}), rstd(DType::kF32, {2});
  EXPECT_THROW(rmsnorm(gpu, x, rstd, x, {w, 1e-6f}), std::logic_error);
  const OnDevice b(DType::kBF16, {2, 8});
  EXPECT_THROW(rmsnorm(gpu, b, b, b, {w, 1e-6f}), std::logic_error);
}

}  // namespace
}  // namespace tessera
