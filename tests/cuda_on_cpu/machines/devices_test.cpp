// A machine whose first GPU is too old.
#include "launch/machine/device.h"

#include <gtest/gtest.h>

#include "launch/commands/doctor.h"
#include "parallel/thread_communicator.h"
#include "runtime/core/context.h"
#include "tests/cuda_on_cpu/control.h"

namespace tessera::launch {
namespace {

class DeviceOfMany : public ::testing::Test {
 protected:
  DeviceOfMany() { cuda_on_cpu::settings().capabilities = {75, 90, 70, 86}; }
  ~DeviceOfMany() override { cuda_on_cpu::settings() = before_; }
  void SetUp() override {
    if (before_.devices < 4) GTEST_SKIP() << "needs 4 devices";
    gpus_ = find_gpus();
  }
  const cuda_on_cpu::Settings before_ = cuda_on_cpu::settings();
  Gpus gpus_;
};

TEST_F(DeviceOfMany, TheFirstIsTooOld) {
  ASSERT_EQ(gpus_.left_out.size(), 2u);
  EXPECT_EQ(gpus_.usable.size(), size_t(before_.devices - 2));
  EXPECT_NE(gpus_.left_out[0].find("(cuda:0, "), std::string::npos) << gpus_.left_out[0];
  EXPECT_NE(gpus_.left_out[0].find("compute capability 7.5"), std::string::npos);
  const std::string report = diagnose(gpus_);
  EXPECT_NE(report.find("not used: " + gpus_.left_out[1]), std::string::npos) << report;
  EXPECT_NE(report.find(describe_gpu(gpus_.usable[0])), std::string::npos) << report;
}

TEST_F(DeviceOfMany, RanksWorkOnTheOthers) {
  parallel::run_ranks(2, [](parallel::Communicator& world) {
    Console console(world.rank() == 0);
    const Device device = choose_device(Device::Kind::kCuda, world, console);
    EXPECT_EQ(device, Device::cuda(world.rank() == 0 ? 1 : 3));
    EXPECT_NE(describe_device(device).find(world.rank() == 0 ? "sm_90" : "sm_86"),
              std::string::npos);
    Context ctx(device, 1, 7);
    const Buffer memory = Buffer::on(device, 4);
    const int32_t value = 5 + world.rank();
    int32_t back = 0;
    ctx.compute_stream().copy(memory.data(), &value, sizeof value);
    ctx.compute_stream().copy(&back, memory.data(), sizeof back);
    ctx.compute_stream().synchronize();
    EXPECT_EQ(back, value);
  });
}

}  // namespace
}  // namespace tessera::launch
