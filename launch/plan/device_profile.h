// What a device can do, as the planner's time model sees it: rates that products and copies really
// reach. Measured on this machine by `tessera doctor --profile`, or modelled for a GPU by name from
// its published peaks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/dtype.h"

namespace tessera::launch {

/// Rates per second. Those of a CPU are the whole machine's, which its ranks share; those of a GPU
/// are each rank's.
struct DeviceProfile {
  std::string name;
  bool gpu = false;
  int64_t memory = 0;          // bytes
  double flops_f32 = 0;        // products with frozen weights in float32, and in bfloat16
  double flops_bf16 = 0;       // 0: cannot
  double flops_attention = 0;  // attention in float32, the only type of a CPU's
  double memory_bytes = 0;     // read and written by a copy
  double host_bytes = 0;       // between device and host memory, in one direction
  double link_bytes = 0;       // that a rank receives from ranks of its node
  double network_bytes = 0;    // that a rank receives from ranks of other nodes

  double flops(DType compute) const {
    return compute == DType::kBF16 && flops_bf16 > 0 ? flops_bf16 : flops_f32;
  }
  double attention(DType compute) const {
    return flops_attention * (gpu ? flops(compute) / flops_f32 : 1.0);
  }
};

/// The GPUs that are known by name.
std::vector<std::string_view> gpu_names();

/// A GPU by name (case, spaces, "NVIDIA" and "RTX" do not matter), or a JSON file as profile_json()
/// writes it. Error (usage) naming what is known, or the file and the key.
DeviceProfile find_profile(const std::string& name_or_path);

/// A CPU of the middle, for choosing where nothing was measured.
DeviceProfile nominal_cpu();

/// Measures this machine with `threads` threads; takes a few seconds.
DeviceProfile measure_profile(int threads);

std::string profile_json(const DeviceProfile& profile);

}  // namespace tessera::launch
