#include "launch/machine/device.h"

#include <algorithm>

#include "launch/machine/agreement.h"
#include "launch/machine/cuda_libraries.h"
#include "launch/machine/system_limits.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera::launch {
namespace {

/// bfloat16 on tensor cores, and asynchronous copies to shared memory.
constexpr int kLeastCapability = 80;

/// Why a GPU cannot be used; empty where it can.
std::string obstacle_of(const cuda::GpuInfo& gpu, const std::string& no_products) {
  if (!gpu.error.empty()) return gpu.error;
  if (gpu.capability >= kLeastCapability) return no_products;
  return fmt::format("compute capability {}.{}, but 8.0 or later is needed", gpu.capability / 10,
                     gpu.capability % 10);
}

/// Why this process cannot compute matrix products on a GPU; empty where it can.
std::string why_no_products() {
  if constexpr (kHasCuda) {
    try {
      cuda::describe_cublas();
    } catch (const Error& error) {
      return error.what();
    }
  }
  return "";
}

/// Why the ranks of a node cannot all have a GPU, after "cuda"; empty where they can.
std::string lack_of(const Gpus& gpus, int64_t ranks) {
  if (ranks <= int64_t(gpus.usable.size())) return "";
  if (gpus.usable.empty()) return "cannot be used: " + gpus.why_none;
  return fmt::format("needs a GPU for each rank: {} ranks are on this node, which has {}{}{}",
                     ranks, gpus.usable.size(), gpus.left_out.empty() ? "" : "; it cannot use ",
                     fmt::join(gpus.left_out, "; "));
}

}  // namespace

Gpus sort_gpus(const std::vector<cuda::GpuInfo>& found, std::string why_none,
               const std::string& no_products) {
  Gpus gpus;
  std::vector<std::pair<std::string, std::string>> left_out;  // an obstacle, and whose it is
  for (const cuda::GpuInfo& gpu : found) {
    const std::string obstacle = obstacle_of(gpu, no_products);
    const auto known = std::ranges::find(left_out, obstacle, [](const auto& o) { return o.first; });
    if (obstacle.empty()) {
      gpus.usable.push_back(gpu);
    } else if (known == left_out.end()) {
      left_out.emplace_back(obstacle, describe_gpu(gpu));
    } else {
      known->second += ", " + describe_gpu(gpu);
    }
  }
  for (const auto& [obstacle, names] : left_out) gpus.left_out.push_back(names + ": " + obstacle);
  if (!gpus.usable.empty()) return gpus;
  gpus.why_none =
      found.empty() ? std::move(why_none) : fmt::format("{}", fmt::join(gpus.left_out, "; "));
  return gpus;
}

Gpus find_gpus() {
  if constexpr (kHasCuda) {
    [[maybe_unused]] static const bool told = (use_cuda_library_folders(), true);
    std::string why_none;
    const std::vector<cuda::GpuInfo> found = cuda::gpus(why_none);
    return sort_gpus(found, std::move(why_none), found.empty() ? "" : why_no_products());
  }
  return sort_gpus({}, "this build has no CUDA backend", "");
}

Device choose_device(const std::optional<Device::Kind>& configured, parallel::Communicator& world,
                     Console& console) {
  if (configured == Device::Kind::kCpu) return Device::cpu();
  return choose_device(configured, find_gpus(), world, console);
}

Device choose_device(const std::optional<Device::Kind>& configured, const Gpus& gpus,
                     parallel::Communicator& world, Console& console) {
  if (configured == Device::Kind::kCpu) return Device::cpu();
  const std::vector<int> nodes = parallel::gather_values(world, world.node());
  const auto before = nodes.begin() + world.rank();
  const auto place = std::count(nodes.begin(), before, world.node());
  const auto ranks = std::ranges::count(nodes, world.node());
  const std::vector<std::string> lacks = gather_texts(world, lack_of(gpus, ranks));
  const bool has_gpus = !gpus.usable.empty() || !gpus.left_out.empty();
  const std::vector<int> have_gpus = parallel::gather_values(world, int(has_gpus));
  const auto lack = std::ranges::find_if(lacks, [](const auto& text) { return !text.empty(); });
  if (lack == lacks.end()) return Device::cuda(gpus.usable[size_t(place)].index);
  if (configured == Device::Kind::kCuda) fail_usage("device: cuda {}", *lack);
  if (std::ranges::count(have_gpus, 1) > 0) {
    console.line(fmt::format("warning: computing on the CPU, since cuda {}", *lack));
  }
  return Device::cpu();
}

Device choose_device(const std::optional<Device::Kind>& configured, Console& console) {
  parallel::SelfCommunicator alone;
  return choose_device(configured, alone, console);
}

int64_t free_bytes(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return int64_t(cuda::memory_of(device).free);
  }
  return available_bytes();
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

std::string describe_gpu(const cuda::GpuInfo& gpu) {
  if (!gpu.error.empty()) return fmt::format("{} (cuda:{})", gpu.name, gpu.index);
  return fmt::format("{} (cuda:{}, {}, sm_{})", gpu.name, gpu.index,
                     format_bytes(int64_t(gpu.memory)), gpu.capability);
}

std::string describe_device(Device device) {
  if (!device.is_cuda()) return "CPU";
  for (const cuda::GpuInfo& gpu : find_gpus().usable) {
    if (gpu.index == device.index) return describe_gpu(gpu);
  }
  fail("device cuda:{} is gone; `tessera doctor` shows what there is", device.index);
}

std::string_view describe_compute(DType type, Device device) {
  if (device.is_cuda()) return name_of(type);
  if (type == DType::kBF16) return "bfloat16 (AVX512_BF16), summed in float32";
  return type == DType::kF16 ? "float32, weights rounded to float16" : "float32";
}

}  // namespace tessera::launch
