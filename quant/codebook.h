// The number tables of the quantized formats, bit-equal to bitsandbytes 0.50.2 on the CPU.
// NF4 and FP4: 4-bit codes of a value scaled into [-1, 1]. Dynamic maps: 8-bit codes, sorted.
#pragma once

#include <array>
#include <cstdint>

namespace tessera::quant {

struct Codebook4 {
  std::array<float, 16> values;      // by code
  std::array<uint8_t, 16> order;     // codes by ascending value
  std::array<float, 15> thresholds;  // f32 midpoints of neighbours in that order
  uint8_t pad;                       // code of the missing last element of an odd-sized tensor
};

/// The code of x is order[number of thresholds below x]: an exact tie takes the smaller value.
extern const Codebook4 kNf4;
extern const Codebook4 kFp4;

/// torch.linspace inside the map's definition rounds differently from build to build (by at most
/// 2 ulp), so the maps are recorded: these are torch 2.15's, the same with AVX2 and AVX-512.
extern const std::array<float, 256> kDynamicSigned;    // 127 negatives, 0, 127 positives, 1.0
extern const std::array<float, 256> kDynamicUnsigned;  // 0, 254 positives, 1.0

}  // namespace tessera::quant
