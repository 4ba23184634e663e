#include "launch/device.h"

#include <algorithm>

#include "launch/progress.h"
#include "launch/system_limits.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// bfloat16 on tensor cores, and asynchronous copies to shared memory.
constexpr int kLeastCapability = 80;

}  // namespace

Gpus find_gpus() {
  Gpus gpus;
  if constexpr (!kHasCuda) {
    gpus.why_none = "this build has no CUDA backend";
    return gpus;
  } else {
    gpus.all = cuda::gpus(gpus.why_none);
    for (const cuda::GpuInfo& gpu : gpus.all) {
      if (gpu.capability >= kLeastCapability) continue;
      gpus.why_none = fmt::format("{} is of compute capability {}.{}, and 8.0 or later is needed",
                                  gpu.name, gpu.capability / 10, gpu.capability % 10);
      gpus.all.clear();
      break;
    }
    return gpus;
  }
}

Device choose_device(const std::optional<Device::Kind>& configured, parallel::Communicator& world) {
  if (configured == Device::Kind::kCpu) return Device::cpu();
  const Gpus gpus = find_gpus();
  const std::vector<int> nodes = parallel::gather_values(world, world.node());
  const auto before = nodes.begin() + world.rank();
  const auto place = std::count(nodes.begin(), before, world.node());
  const auto ranks = std::ranges::count(nodes, world.node());
  const int enough = ranks <= int64_t(gpus.all.size()) ? 1 : 0;
  const std::vector<int> all = parallel::gather_values(world, enough);
  if (std::ranges::count(all, 1) == world.size()) return Device::cuda(int(place));
  if (configured != Device::Kind::kCuda) return Device::cpu();
  if (gpus.all.empty()) fail_usage("device: cuda cannot be used: {}", gpus.why_none);
  fail_usage("device: cuda needs a GPU for each rank: {} ranks are on this node, which has {}",
             ranks, gpus.all.size());
}

Device choose_device(const std::optional<Device::Kind>& configured) {
  parallel::SelfCommunicator alone;
  return choose_device(configured, alone);
}

int64_t used_memory(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) {
      const cuda::DeviceMemory memory = cuda::memory_of(device);
      return int64_t(memory.total - memory.free);
    }
  }
  return peak_resident_bytes();
}

std::string describe_gpu(const cuda::GpuInfo& gpu, int index) {
  return fmt::format("{} (cuda:{}, {}, sm_{})", gpu.name, index, format_bytes(int64_t(gpu.memory)),
                     gpu.capability);
}

std::string describe_device(Device device) {
  if (!device.is_cuda()) return "CPU";
  return describe_gpu(find_gpus().all.at(size_t(device.index)), device.index);
}

}  // namespace tessera::launch
int64_t free_bytes(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return int64_t(cuda::memory_of(device).free);
  }
  return available_bytes();
}

