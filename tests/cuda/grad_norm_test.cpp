// The gradient norm on a GPU: the chunk sums of the CPU, to the bit.
#include "optim/grad_norm.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/cuda/on_device.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

using tessera::testing::DeviceContext;
using tessera::testing::OnDevice;

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (float x : values) bits.push_back(std::bit_cast<uint32_t>(x));
  return bits;
}

double grad_norm(Context& ctx, std::span<const float> grads) {
  return norm_of(chunk_sums(ctx, grads));
}

/// Of the elements from `skip` on.
void compare(const std::vector<float>& grads, size_t skip) {
  DeviceContext ctx;
  Context host(Device::cpu(), 1, 0);
  const OnDevice on_device(DType::kF32, {int64_t(grads.size())}, grads);
  const auto some = on_device.tensor().span<const float>().subspan(skip);
  const auto expected = chunk_sums(host, std::span(grads).subspan(skip));
  ASSERT_EQ(bits_of(chunk_sums(ctx, some)), bits_of(expected)) << grads.size() << " from " << skip;
  EXPECT_EQ(grad_norm(ctx, some), grad_norm(host, std::span(grads).subspan(skip)));
}

TEST(DeviceGradNorm, HasTheBitsOfTheCpu) {
  for (size_t n : {1, 3, 15, 16, 17, 63, 64, 4095, 4096, 4097, 4096 + 30, 8192, 16 * 4096,
                   17 * 4096 + 11, 100000}) {
    compare(golden_values(n, n), 0);
  }
  for (size_t skip : {1, 2, 4, 7, 256, 4096}) compare(golden_values(5, 20000), skip);
}

TEST(DeviceGradNorm, WritesNothingButTheSums) {
  DeviceContext ctx;
  for (const int64_t n : {1, 4097, 9 * 4096}) {
    const int64_t chunks = (n + 4095) / 4096;
    const OnDevice grads(DType::kF32, {n}, golden_values(1, size_t(n)));
    const OnDevice sums(DType::kF32, {chunks + 64}, std::vector<float>(size_t(chunks + 64), -7.0f));
    cuda::chunk_sums(ctx, sums.tensor().slice(0, chunks), grads.tensor().span<const float>());
    const std::vector<float> all = sums.values(ctx);
    for (int64_t i = chunks; i < chunks + 64; ++i) EXPECT_EQ(all[size_t(i)], -7.0f);
  }
}

TEST(DeviceGradNorm, ShowsWhatIsNotFinite) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  DeviceContext ctx;
  EXPECT_EQ(grad_norm(ctx, {}), 0.0);
  for (const float bad : {kInf, -kInf, std::nanf(""), 3e19f}) {
    auto grads = golden_values(1, 9000);
    grads[8990] = bad;
    const OnDevice on_device(DType::kF32, {9000}, grads);
    EXPECT_FALSE(std::isfinite(grad_norm(ctx, on_device.tensor().span<const float>())));
  }
}

}  // namespace
}  // namespace tessera::optim
