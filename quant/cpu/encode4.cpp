// The SIMD encoder of whole 4-bit blocks behind quantize4 in quant/blockwise4.h.
#include <algorithm>
#include <bit>

#include "quant/blockwise4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/cpu/encode4.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::quant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;

/// Bits of the largest magnitude; at least those of infinity if any element is not finite.
HWY_INLINE int32_t largest_magnitude(const float* x, int64_t count) {
  const D d;
  const DI di;
  auto largest = hn::Zero(di);
  for (int64_t i = 0; i < count; i += int64_t(hn::Lanes(d))) {
    // Magnitudes order as their bits do, and NaN lies above infinity, so one pass finds both.
    largest = hn::Max(largest, hn::BitCast(di, hn::Abs(hn::LoadU(d, x + i))));
  }
  return hn::GetLane(hn::MaxOfLanes(di, largest));
}

HWY_INLINE void encode_block(const Codebook4& book, const float* x, int64_t count, float factor,
                             uint8_t* codes) {
  const D d;
  const DI di;
  const hn::Repartition<uint64_t, D> d64;
  const hn::Rebind<uint8_t, decltype(d64)> d8;
  const int64_t lanes = int64_t(hn::Lanes(d));
  const auto f = hn::Set(d, factor);
  const bool ordered = &book == &kNf4;
  for (int64_t i = 0; i < count; i += lanes) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), f);
    auto rank = hn::Zero(di);
    for (float threshold : book.thresholds) {
      const auto above = hn::RebindMask(di, hn::Gt(scaled, hn::Set(d, threshold)));
      rank = hn::Sub(rank, hn::VecFromMask(di, above));
    }
    if (!ordered) {
      HWY_ALIGN int32_t each[hn::MaxLanes(DI())];
      hn::Store(rank, di, each);
      for (int64_t l = 0; l < lanes; ++l) each[l] = book.order[size_t(each[l])];
      rank = hn::Load(di, each);
    }
    // A pair of codes is one 64-bit lane, the even element in its low half.
    const auto pair = hn::BitCast(d64, rank);
    const auto packed = hn::Or(hn::ShiftLeft<4>(pair), hn::ShiftRight<32>(pair));
    hn::StoreU(hn::TruncateTo(d8, packed), d8, codes + i / 2);
  }
}

int64_t encode_blocks(const Codebook4& book, int block, int64_t blocks, const float* x,
                      uint8_t* codes, float* scales) {
  for (int64_t b = 0; b < blocks; ++b, x += block, codes += block / 2) {
    const float scale = std::bit_cast<float>(largest_magnitude(x, block));
    if (!(scale <= 3.402823466e38f)) {
      int64_t i = 0;
      while (x[i] - x[i] == 0) ++i;  // inf - inf and NaN - NaN are NaN
      return b * block + i;
    }
    scales[b] = scale;
    // The multiplication by a reciprocal and its floor are bitsandbytes' rule for whole blocks.
    encode_block(book, x, block, 1.0f / std::max(scale, 1e-38f), codes);
  }
  return -1;
}

}  // namespace tessera::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::quant {

HWY_EXPORT(encode_blocks);

int64_t encode_blocks(const Codebook4& book, int block, int64_t blocks, const float* x,
                      uint8_t* codes, float* scales) {
  return HWY_DYNAMIC_DISPATCH(encode_blocks)(book, block, blocks, x, codes, scales);
}

}  // namespace tessera::quant
#endif
