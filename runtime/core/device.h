// Where memory lies and work runs. A value; copying it is free.
#pragma once

namespace tessera {

/// Whether the CUDA backend is part of this build; a GPU may still be missing where it runs.
inline constexpr bool kHasCuda = TESSERA_HAS_CUDA;

struct Device {
  enum class Kind { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;

  static Device cpu() { return {}; }
  static Device cuda(int index) { return {Kind::kCuda, index}; }
  bool is_cuda() const { return kind == Kind::kCuda; }
  bool operator==(const Device&) const = default;
};

}  // namespace tessera
