// Sixteen floats, the unit of every CPU kernel: one AVX-512 register or two AVX2 registers.
// All operations act per lane or, in sum16/max16, combine lanes in one fixed tree, so that kernels
// written with it give the same bits on both targets. Include inside a foreach_target file only.
#if defined(TESSERA_VEC16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_VEC16_INL_H_
#undef TESSERA_VEC16_INL_H_
#else
#define TESSERA_VEC16_INL_H_
#endif

#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
inline constexpr int kLanes = int(hn::MaxLanes(D()));
inline constexpr int kParts = 16 / kLanes;

struct Vec16 {
  V part[kParts];
};

#define TESSERA_EACH_PART HWY_UNROLL(2) for (int p = 0; p < kParts; ++p)

HWY_INLINE Vec16 load16(const float* from) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::LoadU(D(), from + p * kLanes);
  return r;
}
HWY_INLINE void store16(const Vec16& a, float* to) {
  TESSERA_EACH_PART hn::StoreU(a.part[p], D(), to + p * kLanes);
}
/// The first n < 16 floats; the other lanes are zero. Reads nothing beyond them.
HWY_INLINE Vec16 load16(const float* from, int64_t n) {
  HWY_ALIGN float padded[16] = {};
  for (int64_t i = 0; i < n; ++i) padded[i] = from[i];
  return load16(padded);
}
HWY_INLINE void store16(const Vec16& a, float* to, int64_t n) {
  HWY_ALIGN float padded[16];
  store16(a, padded);
  for (int64_t i = 0; i < n; ++i) to[i] = padded[i];
}
HWY_INLINE Vec16 set16(float x) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::Set(D(), x);
  return r;
}
HWY_INLINE Vec16 zero16() { return set16(0.0f); }

#define TESSERA_BINARY16(name, op)                              \
  HWY_INLINE Vec16 name(const Vec16& a, const Vec16& b) {       \
    Vec16 r;                                                    \
    TESSERA_EACH_PART r.part[p] = hn::op(a.part[p], b.part[p]); \
    return r;                                                   \
  }
TESSERA_BINARY16(add16, Add)
TESSERA_BINARY16(sub16, Sub)
TESSERA_BINARY16(mul16, Mul)
TESSERA_BINARY16(div16, Div)
TESSERA_BINARY16(max16, Max)
#undef TESSERA_BINARY16

/// a * b + c, rounded once.
HWY_INLINE Vec16 fma16(const Vec16& a, const Vec16& b, const Vec16& c) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::MulAdd(a.part[p], b.part[p], c.part[p]);
  return r;
}
/// e^x (Highway's polynomial; relative error below 2e-7; 0 for x under about -104).
HWY_INLINE Vec16 exp16(const Vec16& a) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::Exp(D(), a.part[p]);
  return r;
}

/// Lane sum by halving: lanes i and i+8, then i and i+4, i+2, i+1.
HWY_INLINE float sum16(const Vec16& a) {
  HWY_ALIGN float lane[16];
  store16(a, lane);
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}
HWY_INLINE float max_lane16(const Vec16& a) {
  HWY_ALIGN float lane[16];
  store16(a, lane);
  float m = lane[0];
  for (int i = 1; i < 16; ++i) m = lane[i] > m ? lane[i] : m;
  return m;
}

#undef TESSERA_EACH_PART

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
