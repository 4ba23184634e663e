// How the simulated machine is set up, and what it has to say, for tests. The environment decides
// first: CUDA_ON_CPU_DEVICES, _MEMORY (bytes a device), _CAPABILITIES=75,90, _PROTECT=1,
// _ORDER=ascending|descending| random[:seed], _STREAMS=eager|late|random[:seed].
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "block.h"

namespace cuda_on_cpu {

/// When queued work runs: at once; only when something waits for it; or any time until then.
enum class Streams { kEager, kLate, kRandom };

struct Settings {
  int devices = 8;  // as a common server
  size_t memory = size_t(4) << 30;
  /// 75 for 7.5, of the first devices; the others have 9.0. Only what the driver says depends on
  /// it.
  std::vector<int> capabilities;
  /// The host cannot touch device memory; a read or write of it is a segmentation fault.
  bool protect = false;
  Order order = Order::kAscending;
  uint64_t order_seed = 1;
  Streams streams = Streams::kEager;
  uint64_t streams_seed = 1;
};

/// Order, streams, memory and capabilities may be changed while no work is queued; the rest before
/// the first CUDA call.
Settings& settings();

/// What the device's first failure was; empty while it works. cudaDeviceReset clears it.
std::string failure_of(int device);
/// The most device memory in use since the start or cudaDeviceReset.
size_t peak_memory(int device);

}  // namespace cuda_on_cpu
