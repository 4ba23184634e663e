// The nearest entry of a dynamic 8-bit map, by the rule of bitsandbytes' CUDA kernels: midpoints
// between entries in float32, and an exact tie goes to the entry of even index (where their binary
// search, which starts at 127, ends).
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace tessera::optim::cpu {

/// Finds the entry of a value x in [0, 1]. Floats whose upper 16 bits are equal share a bucket, and
/// buckets are so fine that each holds at most one midpoint:
/// entry = lowest[bucket] + (x > largest_of[lowest[bucket]]), counted from the first entry given.
struct DynamicEncoder {
  /// `entries` ascend from 0 to 1; the first of them has index `first` in its map.
  DynamicEncoder(std::span<const float> entries, size_t first);

  static constexpr int32_t kFirstBucket = 0x3400;  // from 2^-23, which is below every midpoint
  static constexpr int32_t kLastBucket = 0x3f80;   // from 1

  std::array<int32_t, kLastBucket - kFirstBucket + 1> lowest;  // entry of a bucket's least value
  std::array<float, 256> largest_of;                           // the largest value of an entry
};

/// The index of 0 in quant::kDynamicSigned, whose negative entries mirror the positive ones.
inline constexpr int kSignedZero = 127;

const DynamicEncoder& signed_encoder();    // quant::kDynamicSigned from its zero up
const DynamicEncoder& unsigned_encoder();  // quant::kDynamicUnsigned

}  // namespace tessera::optim::cpu
