// For tests: the numbers of tests/golden, whose rule needs no library.
#pragma once

#include <cstdint>

namespace tessera::testing {

inline uint64_t splitmix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

/// In [-1, 1), of the upper 24 bits; exact.
inline float unit_value(uint64_t hash) { return float(hash >> 40) * 0x1p-23f - 1.0f; }

}  // namespace tessera::testing
