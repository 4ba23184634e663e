#include <algorithm>
#include <cmath>

#include "optim/adamw.h"
#include "optim/cpu/dynamic_code.h"
#include "quant/codebook.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/cpu/adamw_8bit.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::optim::cpu::HWY_NAMESPACE {

namespace vec = tessera::cpu::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;
using vec::Vec16;

constexpr int64_t kBlock = int64_t{kStateBlock};

struct Block {
  float* params;
  const float* grads;
  int64_t size;  // kBlock, or less at the end of the buffer
};

struct Largest {
  Vec16 m, v;
};

/// Where the gradient is finite, `value`, else `other`.
HWY_INLINE Vec16 where_finite(const Vec16& grad, const Vec16& value, const Vec16& other) {
  Vec16 r;
  for (int p = 0; p < vec::kParts; ++p) {
    r.part[p] = hn::IfThenElse(hn::IsFinite(grad.part[p]), value.part[p], other.part[p]);
  }
  return r;
}

HWY_INLINE Vec16 larger_magnitude(const Vec16& largest, const Vec16& x) {
  return vec::max16(largest, vec::max16(x, vec::sub16(vec::zero16(), x)));
}

/// The update of one block with its moments decoded into m and v.
HWY_INLINE Largest update(const AdamW8bitScalars& s, const Block& block, float* m, float* v) {
  Largest largest{vec::zero16(), vec::zero16()};
  vec::each16(block.size, [&](int64_t i, auto extent) HWY_ATTR {
    const Vec16 grad = vec::load16(block.grads + i, extent);
    const Vec16 scaled = vec::mul16(grad, vec::set16(s.grad_scale));
    const Vec16 square = vec::mul16(vec::mul16(vec::set16(s.one_minus_beta2), scaled), scaled);
    const Vec16 new_v = where_finite(
        grad, vec::add16(vec::mul16(vec::load16(v + i, extent), vec::set16(s.beta2)), square),
        vec::zero16());
    const Vec16 share = vec::mul16(vec::set16(s.one_minus_beta1), scaled);
    const Vec16 new_m = where_finite(
        grad, vec::add16(vec::mul16(vec::load16(m + i, extent), vec::set16(s.beta1)), share),
        vec::zero16());
    vec::store16(new_m, m + i, extent);
    vec::store16(new_v, v + i, extent);
    largest.m = larger_magnitude(largest.m, new_m);
    largest.v = larger_magnitude(largest.v, new_v);

    const Vec16 param = vec::load16(block.params + i, extent);
    const Vec16 ratio = vec::div16(new_m, vec::add16(vec::sqrt16(new_v), vec::set16(s.eps)));
    const Vec16 moved = vec::add16(param, vec::mul16(vec::set16(s.minus_step_size), ratio));
    const Vec16 decayed = vec::mul16(moved, vec::set16(s.decay));
    vec::store16(where_finite(grad, decayed, param), block.params + i, extent);
  });
  return largest;
}

using Int = hn::Rebind<int32_t, vec::D>;
using IntV = hn::Vec<Int>;

/// The entries of values in [0, 1]; the last one for NaN.
HWY_INLINE IntV entries_of(const DynamicEncoder& encoder, vec::V x) {
  const Int d;
  const IntV bucket =
      hn::Clamp(hn::ShiftRight<16>(hn::BitCast(d, x)), hn::Set(d, DynamicEncoder::kFirstBucket),
                hn::Set(d, DynamicEncoder::kLastBucket));
  const IntV lowest = hn::GatherIndex(d, encoder.lowest.data(),
                                      hn::Sub(bucket, hn::Set(d, DynamicEncoder::kFirstBucket)));
  const vec::V largest = hn::GatherIndex(vec::D(), encoder.largest_of.data(), lowest);
  // A true mask is -1.
  return hn::Sub(lowest, hn::BitCast(d, hn::VecFromMask(vec::D(), hn::Gt(x, largest))));
}

HWY_INLINE void store_codes(IntV codes, uint8_t* to) {
  hn::StoreU(hn::DemoteTo(hn::Rebind<uint8_t, Int>(), codes), hn::Rebind<uint8_t, Int>(), to);
}

HWY_INLINE vec::V decoded(const float* map, const uint8_t* codes, float absmax) {
  const Int d;
  const IntV index = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint8_t, Int>(), codes));
  return hn::Mul(hn::GatherIndex(vec::D(), map, index), hn::Set(vec::D(), absmax));
}

/// Codes of a whole block in quant::kDynamicSigned. They keep the sign: a negative value, -0 too,
/// that is nearest to zero gets the entry below zero.
HWY_INLINE void encode_signed(const float* values, float absmax, uint8_t* codes) {
  const Int d;
  const DynamicEncoder& encoder = signed_encoder();
  // A block of zeros encodes as zeros.
  const vec::V divisor = hn::Set(vec::D(), absmax == 0.0f ? 1.0f : absmax);
  const IntV zero = hn::Set(d, kSignedZero);
  for (int64_t i = 0; i < kBlock; i += vec::kLanes) {
    const vec::V x = hn::Div(hn::LoadU(vec::D(), values + i), divisor);
    const IntV above = entries_of(encoder, hn::Abs(x));
    const IntV below = hn::Clamp(above, hn::Set(d, 1), zero);
    const auto negative = hn::Lt(hn::BitCast(d, x), hn::Zero(d));
    store_codes(hn::IfThenElse(negative, hn::Sub(zero, below), hn::Add(zero, above)), codes + i);
  }
}

/// Codes of a whole block in quant::kDynamicUnsigned.
HWY_INLINE void encode_unsigned(const float* values, float absmax, uint8_t* codes) {
  const DynamicEncoder& encoder = unsigned_encoder();
  const vec::V divisor = hn::Set(vec::D(), absmax == 0.0f ? 1.0f : absmax);
  for (int64_t i = 0; i < kBlock; i += vec::kLanes) {
    store_codes(entries_of(encoder, hn::Div(hn::LoadU(vec::D(), values + i), divisor)), codes + i);
  }
}

HWY_INLINE void decode(const float* map, const uint8_t* codes, float absmax, float* values) {
  for (int64_t i = 0; i < kBlock; i += vec::kLanes) {
    hn::StoreU(decoded(map, codes + i, absmax), vec::D(), values + i);
  }
}

void adamw_8bit_impl(const AdamW8bitScalars& s, std::span<float> params,
                     std::span<const float> grads, const Moments8bit& moments) {
  HWY_ALIGN float m[kBlock];
  HWY_ALIGN float v[kBlock];
  const int64_t count = int64_t(params.size());
  for (int64_t first = 0; first < count; first += kBlock) {
    const Block block{params.data() + first, grads.data() + first, std::min(kBlock, count - first)};
    uint8_t* m_codes = moments.m_codes + first;
    uint8_t* v_codes = moments.v_codes + first;
    float& m_absmax = moments.m_absmax[first / kBlock];
    float& v_absmax = moments.v_absmax[first / kBlock];
    decode(quant::kDynamicSigned.data(), m_codes, m_absmax, m);
    decode(quant::kDynamicUnsigned.data(), v_codes, v_absmax, v);
    const Largest largest = update(s, block, m, v);
    m_absmax = vec::max_lane16(largest.m);
    v_absmax = vec::max_lane16(largest.v);
    encode_signed(m, m_absmax, m_codes);
    encode_unsigned(v, v_absmax, v_codes);
  }
}

}  // namespace tessera::optim::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::optim::cpu {

HWY_EXPORT(adamw_8bit_impl);

void adamw_8bit(const AdamW8bitScalars& scalars, std::span<float> params,
                std::span<const float> grads, const Moments8bit& moments) {
  HWY_DYNAMIC_DISPATCH(adamw_8bit_impl)(scalars, params, grads, moments);
}

}  // namespace tessera::optim::cpu
#endif
