#include <cmath>
#include <cstdint>

#include "optim/adamw.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/cpu/adamw.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::optim::cpu::HWY_NAMESPACE {

namespace vec = tessera::cpu::HWY_NAMESPACE;
using vec::Vec16;

struct Element16 {
  Vec16 param, m, v;
};

HWY_INLINE Element16 updated(const AdamWScalars& s, Element16 e, Vec16 grad) {
  grad = vec::mul16(grad, vec::set16(s.grad_scale));
  e.param = vec::mul16(e.param, vec::set16(s.decay));
  // torch's lerp: m + w (g - m) for a small weight w, else g - (1 - w) (g - m); one FMA either way.
  const float w = s.one_minus_beta1;
  const bool small = std::fabs(w) < 0.5f;
  e.m = vec::fma16(vec::set16(small ? w : w - 1.0f), vec::sub16(grad, e.m), small ? e.m : grad);
  // torch's addcmul: (w2 g) g joins v in one FMA.
  e.v = vec::fma16(vec::mul16(vec::set16(s.one_minus_beta2), grad), grad,
                   vec::mul16(e.v, vec::set16(s.beta2)));
  const Vec16 denominator =
      vec::add16(vec::div16(vec::sqrt16(e.v), vec::set16(s.correction2_sqrt)), vec::set16(s.eps));
  // torch's addcdiv: (-step m) / denominator, then the sum.
  e.param =
      vec::add16(e.param, vec::div16(vec::mul16(vec::set16(s.minus_step_size), e.m), denominator));
  return e;
}

void adamw_impl(const AdamWScalars& s, std::span<float> params, std::span<const float> grads,
                float* m, float* v) {
  const int64_t n = int64_t(params.size());
  float* p = params.data();
  const float* g = grads.data();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Element16 e = updated(s, {vec::load16(p + i), vec::load16(m + i), vec::load16(v + i)},
                                vec::load16(g + i));
    vec::store16(e.param, p + i);
    vec::store16(e.m, m + i);
    vec::store16(e.v, v + i);
  }
  if (i == n) return;
  const Element16 e =
      updated(s, {vec::load16(p + i, n - i), vec::load16(m + i, n - i), vec::load16(v + i, n - i)},
              vec::load16(g + i, n - i));
  vec::store16(e.param, p + i, n - i);
  vec::store16(e.m, m + i, n - i);
  vec::store16(e.v, v + i, n - i);
}

}  // namespace tessera::optim::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::optim::cpu {

HWY_EXPORT(adamw_impl);

void adamw(const AdamWScalars& scalars, std::span<float> params, std::span<const float> grads,
           const Moments32bit& moments) {
  HWY_DYNAMIC_DISPATCH(adamw_impl)(scalars, params, grads, moments.m, moments.v);
}

}  // namespace tessera::optim::cpu
#endif
