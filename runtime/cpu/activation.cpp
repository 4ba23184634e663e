#include "runtime/ops/activation.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/activation.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// 1 + e^-z. The exponent stops at 88, where e^88 is still finite and 1 / (1 + e^88) is below
/// 1e-38.
HWY_INLINE Vec16 one_plus_exp_minus(const Vec16& z) {
  return add16(set16(1.0f), exp16(min16(set16(88.0f), sub16(zero16(), z))));
}

void swiglu_range(float* y, const float* gate, const float* up, int64_t n) {
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 z = load16(gate + i, size);
    const Vec16 silu = div16(z, one_plus_exp_minus(z));
    store16(mul16(silu, load16(up + i, size)), y + i, size);
  });
}

void swiglu_backward_range(float* dgate, float* dup, const float* dy, const float* gate,
                           const float* up, int64_t n) {
  const Vec16 one = set16(1.0f);
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 z = load16(gate + i, size), g = load16(dy + i, size);
    const Vec16 s = div16(one, one_plus_exp_minus(z));
    const Vec16 slope = mul16(s, fma16(z, sub16(one, s), one));
    const Vec16 to_gate = mul16(mul16(g, load16(up + i, size)), slope);
    store16(mul16(g, mul16(z, s)), dup + i, size);
    store16(to_gate, dgate + i, size);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(swiglu_range);
HWY_EXPORT(swiglu_backward_range);

void swiglu(Context& ctx, Tensor y, Tensor gate, Tensor up) {
  float* out = y.data<float>();
  const float *z = gate.data<float>(), *u = up.data<float>();
  parallel_ranges(ctx.threads(), y.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_range)(out + begin, z + begin, u + begin, end - begin);
  });
}

void swiglu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  float *to_gate = dgate.data<float>(), *to_up = dup.data<float>();
  const float *g = dy.data<float>(), *z = gate.data<float>(), *u = up.data<float>();
  parallel_ranges(ctx.threads(), dy.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_backward_range)
    (to_gate + begin, to_up + begin, g + begin, z + begin, u + begin, end - begin);
  });
}

}  // namespace tessera::cpu
#endif
