// Which GPUs are used, and by whom: of GPUs that are made up, so that it is seen without any.
#include "launch/machine/device.h"

#include <gtest/gtest.h>

#include "launch/commands/doctor.h"
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
  return sort_gpus({gpu(0, "GTX 1080", 61), gpu(1, "RTX 4090", 89), broken, gpu(3, "A100", 80)}, "",
                   "");
}

/// Two good cards and an old one, and no cuBLASLt.
const std::string kNoLibrary =
    "libcublasLt.so.13: cannot open shared object file (TESSERA_CUDA_LIBRARY_PATH may name its "
    "folder)";
const std::string kWithoutLibrary =
    "H100 (cuda:0, 24.0 GiB, sm_90), H100 (cuda:2, 24.0 GiB, sm_90): " + kNoLibrary;
Gpus without_library() {
  return sort_gpus({gpu(0, "H100", 90), gpu(1, "GTX 1080", 61), gpu(2, "H100", 90)}, "",
                   kNoLibrary);
}

/// The devices that `ranks` ranks of one node get.
std::vector<Device> dealt(int ranks, const Gpus& gpus, std::optional<Device::Kind> configured) {
  std::vector<Device> devices(size_t(ranks), Device::cpu());
  parallel::run_ranks(ranks, [&](parallel::Communicator& world) {
    Console console(world.rank() == 0);
    devices[size_t(world.rank())] = choose_device(configured, gpus, world, console);
  });
  return devices;
}

/// What is said where `ranks` ranks leave the device open.
std::string said_of_auto(int ranks, const Gpus& gpus) {
  ::testing::internal::CaptureStderr();
  const std::vector<Device> devices = dealt(ranks, gpus, {});
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(devices.front().is_cuda(), said.empty()) << said;
  return said;
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
  const Gpus old = sort_gpus({gpu(0, "GTX 1080", 61)}, "", "");
  testing::expect_error([&] { dealt(1, old, kCuda); }, "device: cuda cannot be used: GTX 1080",
                        "8.0 or later is needed");
  EXPECT_EQ(dealt(1, old, {}), std::vector<Device>(1));
  testing::expect_error([&] { dealt(1, sort_gpus({}, "no driver", ""), kCuda); },
                        "device: cuda cannot be used: no driver");
}

TEST(Device, ALibraryThatIsMissingIsSaidOnceForAllGpus) {
  const Gpus gpus = without_library();
  EXPECT_TRUE(gpus.usable.empty());
  ASSERT_EQ(gpus.left_out.size(), 2u);
  EXPECT_EQ(gpus.left_out[0], kWithoutLibrary);
  EXPECT_NE(gpus.left_out[1].find("compute capability 6.1"), std::string::npos);
  const std::string report = diagnose(gpus);
  const size_t at = report.find("gpu        none: " + kWithoutLibrary + "; GTX 1080 (cuda:1, ");
  ASSERT_NE(at, std::string::npos) << report;
  for (const std::string& once : {std::string("H100 (cuda:0"), kNoLibrary}) {
    EXPECT_EQ(report.find(once), report.rfind(once)) << report;
  }
}

TEST(Device, AutoSaysWhyItIsTheCpu) {
  EXPECT_EQ(said_of_auto(2, without_library()),
            "warning: computing on the CPU, since cuda cannot be used: " +
                without_library().why_none + "\n");
  EXPECT_EQ(said_of_auto(3, sort_gpus({gpu(0, "A100", 80)}, "", "")),
            "warning: computing on the CPU, since cuda needs a GPU for each rank: 3 ranks are on "
            "this node, which has 1\n");
  EXPECT_EQ(said_of_auto(2, mixed()), "");
  // Rank 0 speaks for a node that has what its own lacks.
  ::testing::internal::CaptureStderr();
  parallel::run_ranks(2, 1, [](parallel::Communicator& world) {
    Console console(world.rank() == 0);
    const Gpus own = world.rank() == 0 ? sort_gpus({}, "no driver", "")
                                       : sort_gpus({gpu(0, "A100", 80)}, "", "");
    EXPECT_EQ(choose_device({}, own, world, console), Device::cpu());
  });
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "warning: computing on the CPU, since cuda cannot be used: no driver\n");
  // There is nothing to say: no GPU, or the CPU asked for.
  const Gpus none = sort_gpus({}, "no driver", "");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(dealt(1, none, {}), std::vector<Device>(1));
  EXPECT_EQ(dealt(1, without_library(), Device::Kind::kCpu), std::vector<Device>(1));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace tessera::launch
