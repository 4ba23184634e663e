#include "runtime/ops/dropout.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/dropout.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

using DU = hn::Rebind<uint32_t, D>;
using VU = hn::Vec<DU>;
using DU64 = hn::Repartition<uint64_t, DU>;

struct Product {
  VU high;
  VU low;
};

/// The 64-bit products of all 32-bit lanes, as high and low words.
HWY_INLINE Product multiply(VU a, uint32_t b) {
  const DU d;
  const DU64 d64;
  const VU factor = hn::Set(d, b);
  const auto even = hn::MulEven(a, factor);
  const VU a_odd = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, a)));
  const auto odd = hn::MulEven(a_odd, factor);
  return {hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even))),
          hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even))};
}

/// philox() of kLanes consecutive groups from `group`, one per lane; words[4 * kLanes] gets their
/// random words in the order of the elements.
HWY_INLINE void philox_lanes(const DropoutKey& key, uint64_t group, uint32_t* words) {
  const DU d;
  const PhiloxCounter c = dropout_counter(key, group);
  PhiloxKey k = dropout_key(key);
  VU w0 = hn::Iota(d, c.word[0]), w1 = hn::Set(d, c.word[1]);
  VU w2 = hn::Set(d, c.word[2]), w3 = hn::Set(d, c.word[3]);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const Product a = multiply(w0, kPhiloxMultiplier[0]), b = multiply(w2, kPhiloxMultiplier[1]);
    w0 = hn::Xor(hn::Xor(b.high, w1), hn::Set(d, k.word[0]));
    w2 = hn::Xor(hn::Xor(a.high, w3), hn::Set(d, k.word[1]));
    w1 = b.low;
    w3 = a.low;
    k.word[0] += kPhiloxWeyl[0];
    k.word[1] += kPhiloxWeyl[1];
  }
  hn::StoreInterleaved4(w0, w1, w2, w3, d, words);
}

/// Elements [begin, end) of the tensors; begin is a multiple of 64.
template <bool kAccumulate>
HWY_INLINE void dropout_range_of(float* y, const float* x, int64_t begin, int64_t end,
                                 const DropoutMask& mask) {
  HWY_ALIGN uint32_t words[64];
  const DU d;
  const VU threshold = hn::Set(d, mask.threshold);
  const Vec16 scale = set16(mask.scale);
  each16(end - begin, [&](int64_t offset, auto size) HWY_ATTR {
    const int64_t i = begin + offset;
    if (offset % (4 * kLanes) == 0) philox_lanes(mask.key, uint64_t(i) / 4, words);
    Vec16 kept = mul16(load16(x + i, size), scale);
    for (int p = 0; p < kParts; ++p) {
      const VU word = hn::Load(d, words + offset % (4 * kLanes) + p * kLanes);
      const auto keep = hn::RebindMask(D(), hn::Not(hn::Lt(word, threshold)));
      kept.part[p] = hn::IfThenElseZero(keep, kept.part[p]);
    }
    store16(kAccumulate ? add16(load16(y + i, size), kept) : kept, y + i, size);
  });
}

void dropout_range(float* y, const float* x, int64_t begin, int64_t end, const DropoutMask& mask) {
  dropout_range_of<false>(y, x, begin, end, mask);
}
void dropout_backward_range(float* dx, const float* dy, int64_t begin, int64_t end,
                            const DropoutMask& mask) {
  dropout_range_of<true>(dx, dy, begin, end, mask);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(dropout_range);
HWY_EXPORT(dropout_backward_range);

void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p) {
  const DropoutMask mask = dropout_mask(key, p);
  float* out = y.data<float>();
  const float* in = x.data<float>();
  parallel_ranges(ctx.threads(), x.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_range)(out, in, begin, end, mask);
  });
}

void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p) {
  const DropoutMask mask = dropout_mask(key, p);
  float* out = dx.data<float>();
  const float* in = dy.data<float>();
  parallel_ranges(ctx.threads(), dy.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_backward_range)(out, in, begin, end, mask);
  });
}

}  // namespace tessera::cpu
#endif
