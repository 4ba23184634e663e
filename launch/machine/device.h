// Which device a rank computes on, and what the GPUs of this machine are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "parallel/communicator.h"
#include "runtime/core/cuda_runtime.h"

namespace tessera::launch {

/// The GPUs of this machine, told apart by whether Tessera can use them.
struct Gpus {
  std::vector<cuda::GpuInfo> usable;
  std::vector<std::string> left_out;  // "GTX 1080 (cuda:0, ...): compute capability 6.1, but ..."
  std::string why_none;               // where none is usable
};
/// `why_none`: where none was found.
Gpus sort_gpus(std::vector<cuda::GpuInfo> found, std::string why_none);
/// Of this machine. From then on CUDA's libraries are found where cuda_libraries.h says.
Gpus find_gpus();

/// As configured; auto is a GPU where this process can use one. Ranks of a node take its usable
/// GPUs in turn, one each. Error (usage) where a GPU is asked for and there is none for every rank,
/// naming those that cannot be used. Collective.
Device choose_device(const std::optional<Device::Kind>& configured, const Gpus& gpus,
                     parallel::Communicator& world);
/// From the GPUs of this machine.
Device choose_device(const std::optional<Device::Kind>& configured, parallel::Communicator& world);
/// For a command of one process.
Device choose_device(const std::optional<Device::Kind>& configured);

/// Memory that can still be had where a device computes, in bytes.
int64_t free_bytes(Device device);
/// For a report: of a GPU all that is in use, on the CPU the most that this process has had
/// resident. In bytes.
int64_t used_memory(Device device);

/// "NVIDIA H100 (cuda:0, 80 GiB, sm_90)"
std::string describe_gpu(const cuda::GpuInfo& gpu);
/// The same of a device that is in use; "CPU".
std::string describe_device(Device device);

/// "bfloat16 (AVX512_BF16), summed in float32".
std::string_view describe_compute(DType type, Device device);

}  // namespace tessera::launch
