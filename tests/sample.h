// For tests of many cases: those of a sample are chosen by TESSERA_SEED; TESSERA_WHOLE takes all.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace tessera::testing {

inline bool takes_all() { return std::getenv("TESSERA_WHOLE") != nullptr; }

/// Printed, so that a failure can be repeated.
inline uint32_t sample_seed() {
  const char* const given = std::getenv("TESSERA_SEED");
  const auto seed = given == nullptr ? 17 : uint32_t(std::stoul(given));
  fmt::print("seed {0}: TESSERA_SEED={0} repeats it\n", seed);
  return seed;
}

}  // namespace tessera::testing
