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
#include "runtime/core/dtype.h"

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
/// Sixteen 16-bit floats, widened exactly.
HWY_INLINE Vec16 load16(const bf16* from) {
  const hn::Rebind<uint32_t, D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const uint16_t* bits = reinterpret_cast<const uint16_t*>(from);
  Vec16 r;
  TESSERA_EACH_PART {
    const auto wide = hn::PromoteTo(d32, hn::LoadU(d16, bits + p * kLanes));
    r.part[p] = hn::BitCast(D(), hn::ShiftLeft<16>(wide));
  }
  return r;
}
HWY_INLINE Vec16 load16(const f16* from) {
  const hn::Rebind<hwy::float16_t, D> d16;
  const hwy::float16_t* halves = reinterpret_cast<const hwy::float16_t*>(from);
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::PromoteTo(D(), hn::LoadU(d16, halves + p * kLanes));
  return r;
}
/// The first n < 16 elements; the other lanes are zero. Reads nothing beyond them.
template <class T>
HWY_INLINE Vec16 load16(const T* from, int64_t n) {
  HWY_ALIGN T padded[16] = {};
  for (int64_t i = 0; i < n; ++i) padded[i] = from[i];
  return load16(padded);
}
/// The first n < 16 floats; the other lanes are `fill`.
HWY_INLINE Vec16 load16(const float* from, int64_t n, float fill) {
  HWY_ALIGN float padded[16];
  for (int64_t i = 0; i < 16; ++i) padded[i] = i < n ? from[i] : fill;
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
TESSERA_BINARY16(min16, Min)
#undef TESSERA_BINARY16

/// a * b + c, rounded once.
HWY_INLINE Vec16 fma16(const Vec16& a, const Vec16& b, const Vec16& c) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::MulAdd(a.part[p], b.part[p], c.part[p]);
  return r;
}
/// Square root, rounded once.
HWY_INLINE Vec16 sqrt16(const Vec16& a) {
  Vec16 r;
  TESSERA_EACH_PART r.part[p] = hn::Sqrt(a.part[p]);
  return r;
}
/// e^x for x up to 88 (Highway's polynomial; relative error below 2e-7; 0 for x under about -104).
/// NaN stays NaN, which Highway's own would turn into 0 and so hide a broken input.
HWY_INLINE Vec16 exp16(const Vec16& a) {
  Vec16 r;
  TESSERA_EACH_PART {
    r.part[p] = hn::IfThenElse(hn::IsNaN(a.part[p]), a.part[p], hn::Exp(D(), a.part[p]));
  }
  return r;
}

/// cap * tanh(x / cap), by Highway's tanh (at most 4 units in the last place off); NaN where x is
/// not finite, which the bound would hide.
HWY_INLINE Vec16 cap16(const Vec16& x, float cap) {
  const Vec16 y = div16(x, set16(cap));
  Vec16 tanh;
  TESSERA_EACH_PART tanh.part[p] = hn::Tanh(D(), y.part[p]);
  return fma16(tanh, set16(cap), mul16(y, zero16()));
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

/// How much of a group of sixteen lies inside a row: all of it, or the first n.
struct Whole {};
struct Part {
  int64_t n;
};
template <class T>
HWY_INLINE Vec16 load16(const T* from, Whole) {
  return load16(from);
}
template <class T>
HWY_INLINE Vec16 load16(const T* from, Part part) {
  return load16(from, part.n);
}
HWY_INLINE Vec16 load16(const float* from, Whole, float) { return load16(from); }
HWY_INLINE Vec16 load16(const float* from, Part part, float fill) {
  return load16(from, part.n, fill);
}
HWY_INLINE void store16(const Vec16& a, float* to, Whole) { store16(a, to); }
HWY_INLINE void store16(const Vec16& a, float* to, Part part) { store16(a, to, part.n); }

/// Calls body(i, Whole or Part) for each group of sixteen in [0, count), the last one perhaps a
/// Part, so that a kernel writes its arithmetic once.
template <class Body>
HWY_INLINE void each16(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) body(i, Whole());
  if (i < count) body(i, Part{count - i});
}

#undef TESSERA_EACH_PART

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
