// For tests of many cases: those of a sample are chosen by TESSERA_SEED; TESSERA_WHOLE takes all.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/sanitized.h"

namespace tessera::testing {

inline bool takes_all() { return std::getenv("TESSERA_WHOLE") != nullptr; }

/// Printed, so that a failure can be repeated.
inline uint32_t sample_seed() {
  const char* const given = std::getenv("TESSERA_SEED");
  const auto seed = given == nullptr ? 17 : uint32_t(std::stoul(given));
  fmt::print("seed {0}: TESSERA_SEED={0} repeats it\n", seed);
  return seed;
}

/// The cases of a test of results. A sanitizer, which looks at memory and threads, sees all of them
/// in `count` cases of the sample, and takes ten times as long.
template <class Case>
std::vector<Case> unless_sanitized(std::vector<Case> cases, size_t count) {
  if (!kSanitized || takes_all()) return cases;
  std::vector<Case> chosen;
  std::ranges::sample(cases, std::back_inserter(chosen), std::ptrdiff_t(count),
                      std::mt19937(sample_seed()));
  return chosen;
}

}  // namespace tessera::testing
