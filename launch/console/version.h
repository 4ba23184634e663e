// The version of this program.
#pragma once

namespace tessera::launch {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace tessera::launch
