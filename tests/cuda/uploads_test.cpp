// Values on their way to a device through pinned memory that is used again and again.
#include "runtime/cuda/uploads.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/ops/transfer.h"
#include "tests/cuda/on_device.h"

namespace tessera {
namespace {

std::vector<uint32_t> read_back(Context& ctx, const Buffer& memory) {
  std::vector<uint32_t> values(memory.size() / sizeof(uint32_t));
  ctx.compute_stream().copy(values.data(), memory.data(), memory.size());
  ctx.compute_stream().synchronize();
  return values;
}

TEST(CudaUploads, KeepTheirOrderAndNeedNothingKept) {
  testing::DeviceContext ctx;
  constexpr size_t kCount = 30000, kUploads = 20;
  static_assert(kCount * sizeof(uint32_t) < cuda::Uploads::kPiece);
  const Buffer memory = Buffer::on(ctx.device(), kUploads * kCount * sizeof(uint32_t));
  for (size_t i = 0; i < kUploads; ++i) {
    // Over the same bytes as before, then over those behind.
    for (size_t at : {i > 0 ? i - 1 : i, i}) {
      const std::vector<uint32_t> values(kCount, uint32_t(100 * i + at));
      upload(ctx, memory.data() + at * kCount * sizeof(uint32_t), values.data(),
             kCount * sizeof(uint32_t));
    }
  }
  const std::vector<uint32_t> got = read_back(ctx, memory);
  for (size_t at = 0; at < kUploads; ++at) {
    const size_t last = std::min(at + 1, kUploads - 1);
    EXPECT_EQ(std::vector(got.begin() + ptrdiff_t(at * kCount),
                          got.begin() + ptrdiff_t((at + 1) * kCount)),
              std::vector<uint32_t>(kCount, uint32_t(100 * last + at)))
        << at;
  }
}

TEST(CudaUploads, MayBeLongerThanThePinnedMemory) {
  testing::DeviceContext ctx;
  std::vector<uint32_t> values(5 * cuda::Uploads::kPiece / sizeof(uint32_t) + 77);
  std::iota(values.begin(), values.end(), 1);
  const Buffer memory = Buffer::on(ctx.device(), values.size() * sizeof(uint32_t));
  upload(ctx, memory.data(), values.data(), memory.size());
  upload(ctx, memory.data(), values.data(), 0);
  EXPECT_EQ(read_back(ctx, memory), values);
}

}  // namespace
}  // namespace tessera
