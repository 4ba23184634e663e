// Random words of Philox for the lanes of a vector, keyed as dropout is (runtime/ops/dropout.h).
// Include inside a foreach_target file only.
#if defined(TESSERA_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_PHILOX_INL_H_
#undef TESSERA_PHILOX_INL_H_
#else
#define TESSERA_PHILOX_INL_H_
#endif

#include "runtime/cpu/vec16-inl.h"
#include "runtime/ops/dropout.h"

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

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
