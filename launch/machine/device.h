// Which device a rank computes on, and what the GPUs of this machine are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "parallel/communicator.h"
#include "runtime/core/cuda_runtime.h"

namespace tessera::launch {

/// The GPUs of this machine, told apart by whether Tessera can use them.
struct Gpus {
  std::vector<cuda::GpuInfo> usable;
  // "GTX 1080 (cuda:0, ...): compute capability 6.1, but ..."; GPUs with one fault share a line
  std::vector<std::string> left_out;
  std::string why_none;  // where none is usable
};
/// `why_none`: where none was found. `no_products`: why this process cannot compute matrix products
/// on any; empty where it can.
Gpus sort_gpus(const std::vector<cuda::GpuInfo>& found, std::string why_none,
               const std::string& no_products);
/// Of this machine. From then on CUDA's libraries are found where cuda_libraries.h says.
Gpus find_gpus();

/// As configured; auto is a GPU where every rank can use one, else the CPU: if there are GPUs, a
/// line on the console says why none is used. Ranks of a node take its usable GPUs in turn, one
/// each. Error (usage) where a GPU is asked for and there is none for every rank, naming those that
/// cannot be used. Collective.
Device choose_device(const std::optional<Device::Kind>& configured, const Gpus& gpus,
                     parallel::Communicator& world, Console& console);
/// From the GPUs of this machine.
Device choose_device(const std::optional<Device::Kind>& configured, parallel::Communicator& world,
                     Console& console);
/// For a command of one process.
Device choose_device(const std::optional<Device::Kind>& configured, Console& console);

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
