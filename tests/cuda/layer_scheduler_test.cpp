// On GPUs, gathers of layers and exchanges of gradients go through two NCCL groups of a device, on
// two streams.
#include "parallel/layer_scheduler.h"

#include <gtest/gtest.h>

#include <vector>

#include "parallel/device_group.h"
#include "parallel/thread_communicator.h"
#include "tests/cuda/device_spans.h"

namespace tessera::parallel {
namespace {

constexpr size_t kLayerBytes[] = {3000, 5000, 4000};

std::vector<std::byte> bytes_of(int64_t layer) {
  std::vector<std::byte> bytes(kLayerBytes[layer]);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(uint8_t(size_t(layer) + 7 * i));
  return bytes;
}

/// Rank 0 has all layers, one a round.
void fill(ShardedStore& store, Communicator& host) {
  for (int64_t layer = 0; layer < store.layers(); ++layer) {
    std::vector<BlobPart> round(size_t(host.size()), {0, 0, 0});
    round[0] = {layer, 0, kLayerBytes[layer]};
    store.distribute(round, host.rank() == 0 ? bytes_of(layer) : std::vector<std::byte>());
  }
  store.finish_loading();
}

/// Each layer is whole when its turn comes.
void expect_pass(Context& ctx, LayerScheduler& scheduler) {
  scheduler.begin_pass(false);
  for (int64_t layer = 0; layer < scheduler.layers(); ++layer) {
    const LayerLease lease = scheduler.acquire(layer);
    std::vector<std::byte> got(kLayerBytes[layer]);
    ctx.compute_stream().copy(got.data(), lease.data(), got.size());
    ctx.compute_stream().synchronize();
    EXPECT_EQ(got, bytes_of(layer)) << layer;
  }
}

TEST(LayerSchedulerOnGpus, TheFirstGatherComesAfterTheLastExchange) {
  if (testing::device_count() < 2) GTEST_SKIP() << "needs 2 devices";
  run_ranks(2, [](Communicator& host) {
    const Device device = Device::cuda(host.rank());
    Context ctx(device, 1, 7);
    ctx.set_scratch(Arena(device, 256));
    ShardedStore store(ctx, host, {Sharding::Mode::kFull, 0}, kLayerBytes);
    fill(store, host);
    LayerScheduler scheduler(ctx, store);
    // A forward leaves the last layers in the slots; the next pass begins with the first one.
    expect_pass(ctx, scheduler);
    const auto world = device_group(host.split(0), ctx, ctx.compute_stream());
    const Buffer gradients = Buffer::on(device, 1000 * sizeof(float));
    const std::vector<float> ones(1000, 1.0f);
    ctx.compute_stream().copy(gradients.data(), ones.data(), gradients.size());
    world->all_reduce({gradients.as<float>(), ones.size()});

    // The host has not waited for the sums, and the slots were free before.
    expect_pass(ctx, scheduler);
    std::vector<float> sums(1000);
    ctx.compute_stream().copy(sums.data(), gradients.data(), gradients.size());
    ctx.compute_stream().synchronize();
    world->poll();
    EXPECT_EQ(sums, std::vector<float>(1000, 2.0f));
  });
}

}  // namespace
}  // namespace tessera::parallel
