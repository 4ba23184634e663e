// Philox4x32-10, the counter-based random generator of Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3" (2011): random bits are a pure function of a key and a counter, with no state to
// carry, so any thread, rank or recomputation gets the same ones. constexpr, for host and device.
#pragma once

#include <cstdint>

namespace tessera {

struct PhiloxCounter {
  uint32_t word[4];
};
struct PhiloxKey {
  uint32_t word[2];
};

inline constexpr uint32_t kPhiloxMultiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
inline constexpr uint32_t kPhiloxWeyl[2] = {0x9E3779B9u, 0xBB67AE85u};
inline constexpr int kPhiloxRounds = 10;

/// Four random words. On a GPU the arrays above do not exist, only their values.
constexpr PhiloxCounter philox(PhiloxCounter c, PhiloxKey k) {
  constexpr uint32_t kMultiplier0 = kPhiloxMultiplier[0], kMultiplier1 = kPhiloxMultiplier[1];
  constexpr uint32_t kWeyl0 = kPhiloxWeyl[0], kWeyl1 = kPhiloxWeyl[1];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t a = uint64_t{kMultiplier0} * c.word[0];
    const uint64_t b = uint64_t{kMultiplier1} * c.word[2];
    c = {{uint32_t(b >> 32) ^ c.word[1] ^ k.word[0], uint32_t(b),
          uint32_t(a >> 32) ^ c.word[3] ^ k.word[1], uint32_t(a)}};
    k.word[0] += kWeyl0;
    k.word[1] += kWeyl1;
  }
  return c;
}

}  // namespace tessera
