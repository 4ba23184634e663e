#include "quant/cpu/half_floats.h"

#include "runtime/core/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/cpu/half_floats.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::quant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DU = hn::RebindToUnsigned<D>;
using D16 = hn::Rebind<uint16_t, D>;
using DHalf = hn::Rebind<hwy::float16_t, D>;
constexpr int64_t kLanes = int64_t(hn::MaxLanes(D()));

template <bool kBrain>
HWY_INLINE void widen_vector(const uint16_t* from, float* to) {
  const auto bits = hn::LoadU(D16(), from);
  if constexpr (kBrain) {
    const auto wide = hn::ShiftLeft<16>(hn::PromoteTo(DU(), bits));
    hn::StoreU(hn::BitCast(D(), wide), D(), to);
  } else {
    hn::StoreU(hn::PromoteTo(D(), hn::BitCast(DHalf(), bits)), D(), to);
  }
}

template <bool kBrain>
HWY_INLINE void narrow_vector(const float* from, uint16_t* to) {
  const auto x = hn::LoadU(D(), from);
  if constexpr (kBrain) {
    // As to_bf16 without its NaN case: frozen weights are finite.
    const auto u = hn::BitCast(DU(), x);
    const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(DU(), 1));
    const auto rounded = hn::Add(u, hn::Add(odd, hn::Set(DU(), 0x7fff)));
    hn::StoreU(hn::TruncateTo(D16(), hn::ShiftRight<16>(rounded)), D16(), to);
  } else {
    hn::StoreU(hn::BitCast(D16(), hn::DemoteTo(DHalf(), x)), D16(), to);
  }
}

template <bool kBrain>
HWY_INLINE void widen_all(const uint16_t* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) widen_vector<kBrain>(from + i, to + i);
  if (i == count) return;
  uint16_t padded[kLanes] = {};
  float wide[kLanes];
  for (int64_t j = i; j < count; ++j) padded[j - i] = from[j];
  widen_vector<kBrain>(padded, wide);
  for (int64_t j = i; j < count; ++j) to[j] = wide[j - i];
}

template <bool kBrain>
HWY_INLINE void narrow_all(const float* from, int64_t count, uint16_t* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) narrow_vector<kBrain>(from + i, to + i);
  if (i == count) return;
  float padded[kLanes] = {};
  uint16_t thin[kLanes];
  for (int64_t j = i; j < count; ++j) padded[j - i] = from[j];
  narrow_vector<kBrain>(padded, thin);
  for (int64_t j = i; j < count; ++j) to[j] = thin[j - i];
}

void widen_impl(bool brain, const uint16_t* from, int64_t count, float* to) {
  brain ? widen_all<true>(from, count, to) : widen_all<false>(from, count, to);
}

void narrow_impl(bool brain, const float* from, int64_t count, uint16_t* to) {
  brain ? narrow_all<true>(from, count, to) : narrow_all<false>(from, count, to);
}

}  // namespace tessera::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::quant {

HWY_EXPORT(widen_impl);
HWY_EXPORT(narrow_impl);

void widen(DType type, const void* from, int64_t count, float* to) {
  TESSERA_CHECK(type == DType::kBF16 || type == DType::kF16);
  HWY_DYNAMIC_DISPATCH(widen_impl)
  (type == DType::kBF16, static_cast<const uint16_t*>(from), count, to);
}

void narrow(DType type, const float* from, int64_t count, void* to) {
  TESSERA_CHECK(type == DType::kBF16 || type == DType::kF16);
  HWY_DYNAMIC_DISPATCH(narrow_impl)
  (type == DType::kBF16, from, count, static_cast<uint16_t*>(to));
}

}  // namespace tessera::quant
#endif
