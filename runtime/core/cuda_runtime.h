// What core/ needs of the CUDA runtime, without its types. Defined in runtime/cuda/runtime.cpp;
// callers stand behind `if constexpr (kHasCuda)`. All throw Error naming the call and the device.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "runtime/core/device.h"

namespace tessera::cuda {

struct GpuInfo {
  int index;  // of Device::cuda()
  std::string name;
  size_t memory;      // bytes, in all
  int capability;     // 90 for 9.0
  std::string error;  // why the driver says nothing about it; usually empty
};
/// The GPUs that the driver shows, in its order; none, with the reason, where there is no driver or
/// no GPU. Never throws.
std::vector<GpuInfo> gpus(std::string& why_none);
/// "CUDA 13.0, driver for CUDA 13.1".
std::string describe_runtime();
/// "cuBLASLt 13.1.0 of FILE". Error that says why it cannot be opened.
std::string describe_cublas();

/// In bytes; what is not free may be anybody's.
struct DeviceMemory {
  size_t free, total;
};
DeviceMemory memory_of(Device device);

/// Makes `device` the calling thread's.
void use(Device device);

/// Zero-filled memory.
void* allocate(Device device, size_t bytes);
void* allocate_pinned(size_t bytes);
void release(Device device, void* memory) noexcept;
void release_pinned(void* memory) noexcept;
/// Pins memory of the host that is already there, for all GPUs, until the result goes. Nothing
/// where somebody has pinned it.
std::shared_ptr<void> pin(const void* memory, size_t bytes);

/// A stream of the calling thread's device; destroyed with its last owner, after its work.
std::shared_ptr<void> make_stream(Device device);
/// Any direction between host and device.
void copy(void* stream, void* to, const void* from, size_t bytes);
void fill_zero(void* stream, void* memory, size_t bytes);

std::shared_ptr<void> record(void* stream);
/// An event that seconds_between() takes.
std::shared_ptr<void> record_timed(void* stream);
/// Of two that have been reached.
double seconds_between(void* from, void* to);
void wait(void* stream, void* event);
/// The calling thread waits. Error where the device's work has failed.
void wait(void* event);
bool reached(void* event);

}  // namespace tessera::cuda
