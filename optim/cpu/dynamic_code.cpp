#include "optim/cpu/dynamic_code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "quant/codebook.h"
#include "runtime/core/error.h"

namespace tessera::optim::cpu {

DynamicEncoder::DynamicEncoder(std::span<const float> entries, size_t first) {
  largest_of.fill(std::numeric_limits<float>::infinity());
  for (size_t i = 0; i + 1 < entries.size(); ++i) {
    const float midpoint = (entries[i] + entries[i + 1]) * 0.5f;
    const bool keeps_tie = (first + i) % 2 == 0;
    largest_of[i] = keeps_tie ? midpoint : std::nextafter(midpoint, 0.0f);
  }
  const auto entry_of = [&](int32_t bits) {
    const float* above = std::lower_bound(largest_of.data(), largest_of.data() + entries.size(),
                                          std::bit_cast<float>(bits));
    return size_t(above - largest_of.data());
  };
  for (int32_t bucket = kFirstBucket; bucket <= kLastBucket; ++bucket) {
    const size_t entry = bucket == kFirstBucket ? 0 : entry_of(bucket << 16);
    TESSERA_CHECK(entry_of(bucket << 16 | 0xffff) <= entry + 1);
    lowest[size_t(bucket - kFirstBucket)] = int32_t(entry);
  }
}

const DynamicEncoder& signed_encoder() {
  static const DynamicEncoder encoder(std::span(quant::kDynamicSigned).subspan(kSignedZero),
                                      kSignedZero);
  return encoder;
}

const DynamicEncoder& unsigned_encoder() {
  static const DynamicEncoder encoder(quant::kDynamicUnsigned, 0);
  return encoder;
}

}  // namespace tessera::optim::cpu
