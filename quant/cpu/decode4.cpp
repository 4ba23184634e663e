// The SIMD decoder of 4-bit blocks behind dequantize4 in quant/blockwise4.h.
#include <algorithm>
#include <bit>
#include <cstring>

#include "quant/blockwise4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/cpu/decode4.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::quant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
using DU = hn::RebindToUnsigned<D>;
using DI = hn::RebindToSigned<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));
constexpr int kParts = 16 / kLanes;

/// The sixteen values a code can stand for inside one block.
struct Table {
  V part[kParts];
};

HWY_INLINE Table scaled_table(const float* values, float scale) {
  const D d;
  Table t;
  for (int p = 0; p < kParts; ++p) {
    t.part[p] = hn::Mul(hn::LoadU(d, values + p * kLanes), hn::Set(d, scale));
  }
  return t;
}

/// kLanes elements from kLanes / 2 bytes.
HWY_INLINE V decode_vector(const Table& table, const uint8_t* codes) {
  const D d;
  const DU du;
  // Little-endian: byte j of a word is bits 8j, its high nibble (the first element) bits 8j + 4.
  HWY_ALIGN static constexpr uint32_t kShifts[16] = {4, 0, 12, 8, 20, 16, 28, 24,
                                                     4, 0, 12, 8, 20, 16, 28, 24};
  const auto shifts = hn::Load(du, kShifts);
  uint32_t word[kLanes / 8];
  std::memcpy(word, codes, sizeof(word));
  if constexpr (kLanes == 16) {
    const auto words = hn::ConcatLowerLower(du, hn::Set(du, word[1]), hn::Set(du, word[0]));
    const auto nibble = hn::And(hn::Shr(words, shifts), hn::Set(du, 15));
    return hn::TableLookupLanes(table.part[0], hn::IndicesFromVec(d, hn::BitCast(DI(), nibble)));
  } else {
    const auto nibble = hn::Shr(hn::Set(du, word[0]), shifts);
    const auto low3 = hn::BitCast(DI(), hn::And(nibble, hn::Set(du, 7)));
    const auto index = hn::IndicesFromVec(d, low3);
    const auto upper = hn::BitCast(d, hn::ShiftLeft<28>(nibble));  // bit 3 becomes the sign
    return hn::IfNegativeThenElse(upper, hn::TableLookupLanes(table.part[1], index),
                                  hn::TableLookupLanes(table.part[0], index));
  }
}

HWY_INLINE float scale_at(const Scales& s, int64_t i) {
  if (s.plain != nullptr) return s.plain[i];
  return kDynamicSigned[s.codes[i]] * s.nested[i / 256] + *s.offset;  // two roundings
}

HWY_INLINE float decode_one(const Encoded4& in, int64_t element, float scale) {
  const int byte = in.codes[element / 2];
  return in.book->values[size_t(element % 2 == 0 ? byte >> 4 : byte & 15)] * scale;
}

void decode_run(const Encoded4& in, int block_shift, int64_t first, int64_t count, float* out) {
  const D d;
  const int64_t last = first + count;
  int64_t e = first;
  while (e < last) {
    const int64_t end = std::min(last, ((e >> block_shift) + 1) << block_shift);
    const float scale = scale_at(in.scales, e >> block_shift);
    if (e % 2 != 0) *out++ = decode_one(in, e++, scale);
    const Table table = scaled_table(in.book->values.data(), scale);
    // The last vector of a block may run over its end, where the next block overwrites it; that of
    // the run stores no more than the run. Either may read up to 7 bytes too many.
    const uint8_t* codes = in.codes + e / 2;
    for (; e < end; e += kLanes, out += kLanes, codes += kLanes / 2) {
      const V values = decode_vector(table, codes);
      if (e + kLanes <= last) {
        hn::StoreU(values, d, out);
      } else {
        hn::BlendedStore(values, hn::FirstN(d, size_t(last - e)), d, out);
      }
    }
    out -= e - end;
    e = end;
  }
}

void decode_runs(const Encoded4& in, const Runs& runs, float* out, int64_t ldo) {
  const int block_shift = std::countr_zero(unsigned(in.block));
  for (int64_t r = 0; r < runs.rows; ++r) {
    decode_run(in, block_shift, runs.first + r * runs.stride, runs.count, out + r * ldo);
  }
}

}  // namespace tessera::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::quant {

HWY_EXPORT(decode_runs);

void dequantize4(const Encoded4& in, const Runs& runs, float* out, int64_t ldo) {
  HWY_DYNAMIC_DISPATCH(decode_runs)(in, runs, out, ldo);
}

}  // namespace tessera::quant
#endif
