// Which GPUs are used, and by whom: of GPUs that are made up, so that it is seen without any.
#include "launch/machine/device.h"

#include <gtest/gtest.h>

#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

constexpr auto kCuda = Device::Kind::kCuda;

cuda::GpuInfo gpu(int index, const std::string& name, int capability) {
  return {index, name, size_t{24} << 30, capability, ""};
}

/// An old card, a good one, one that the driver cannot ask, another good one.
Gpus mixed() {
  cuda::GpuInfo broken{2, "a GPU", 0, 0, "unknown error"};
  return sort_gpus({gpu(0, "GTX 1080", 61), gpu(1, "RTX 4090", 89), broken, gpu(3, "A100", 80)},
                   "");
}

/// The devices that `ranks` ranks of one node get.
std::vector<Device> dealt(int ranks, const Gpus& gpus, std::optional<Device::Kind> configured) {
  std::vector<Device> devices(size_t(ranks), Device::cpu());
  parallel::run_ranks(ranks, [&](parallel::Communicator& world) {
    devices[size_t(world.rank())] = choose_device(configured, gpus, world);
  });
  return devices;
}

TEST(Device, GpusThatCannotBeUsedAreNamedAndLeftOut) {
  const Gpus gpus = mixed();
  ASSERT_EQ(gpus.usable.size(), 2u);
  EXPECT_EQ(describe_gpu(gpus.usable[0]), "RTX 4090 (cuda:1, 24.0 GiB, sm_89)");
  ASSERT_EQ(gpus.left_out.size(), 2u);
  EXPECT_EQ(gpus.left_out[0],
            "GTX 1080 (cuda:0, 24.0 GiB, sm_61): compute capability 6.1, but 8.0 or later is "
            "needed");
  EXPECT_EQ(gpus.left_out[1], "a GPU (cuda:2): unknown error");
  EXPECT_EQ(gpus.why_none, "");
}

TEST(Device, RanksTakeTheUsableOnesInTurn) {
  EXPECT_EQ(dealt(1, mixed(), kCuda), std::vector{Device::cuda(1)});
  EXPECT_EQ(dealt(2, mixed(), {}), (std::vector{Device::cuda(1), Device::cuda(3)}));
  // Where there are not enough for all, auto means the CPU for all.
  EXPECT_EQ(dealt(3, mixed(), {}), std::vector<Device>(3));
}

TEST(Device, AnErrorSaysWhyThereAreNotEnough) {
  testing::expect_error([] { dealt(3, mixed(), kCuda); },
                        "3 ranks are on this node, which has 2; it cannot use GTX 1080 (cuda:0, ",
                        "a GPU (cuda:2): unknown error");
  parallel::SelfCommunicator alone;
  const Gpus old = sort_gpus({gpu(0, "GTX 1080", 61)}, "");
  testing::expect_error([&] { choose_device(kCuda, old, alone); },
                        "device: cuda cannot be used: GTX 1080", "8.0 or later is needed");
  EXPECT_EQ(choose_device({}, old, alone), Device::cpu());
  testing::expect_error([&] { choose_device(kCuda, sort_gpus({}, "no driver"), alone); },
                        "device: cuda cannot be used: no driver");
}

}  // namespace
}  // namespace tessera::launch
