#include "runtime/ops/activation.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/activation.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// 1 + e^-a. The exponent stops at 88, where e^88 is still finite and 1 / (1 + e^88) is below
/// 1e-38.
HWY_INLINE Vec16 one_plus_exp_minus(const Vec16& a) {
  return add16(set16(1.0f), exp16(min16(set16(88.0f), sub16(zero16(), a))));
}

// The argument a(z) of each activation's sigmoid, and z * a'(z).
struct Silu {
  HWY_INLINE Vec16 argument(const Vec16& z) const { return z; }
  HWY_INLINE Vec16 slope(const Vec16& z) const { return z; }
};
struct GeluTanh {
  static constexpr float kTwice = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  HWY_INLINE Vec16 argument(const Vec16& z) const {
    const Vec16 cubic = mul16(mul16(z, z), set16(kCubic));
    return mul16(set16(kTwice), fma16(cubic, z, z));
  }
  HWY_INLINE Vec16 slope(const Vec16& z) const {
    const Vec16 cubic = mul16(mul16(z, z), set16(3.0f * kCubic));
    return mul16(set16(kTwice), fma16(cubic, z, z));
  }
};

template <class Act>
HWY_INLINE void glu_of(const Act& act, Tensor y, const GluInput& in) {
  float* out = y.data<float>();
  const float *gate = in.gate.data<float>(), *up = in.up.data<float>();
  each16(y.numel(), [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 z = load16(gate + i, size);
    const Vec16 activated = div16(z, one_plus_exp_minus(act.argument(z)));
    store16(mul16(activated, load16(up + i, size)), out + i, size);
  });
}

template <class Act>
HWY_INLINE void glu_backward_of(const Act& act, Tensor dgate, Tensor dup, Tensor dy,
                                const GluInput& in) {
  float *to_gate = dgate.data<float>(), *to_up = dup.data<float>();
  const float* slopes = dy.data<float>();
  const float *gate = in.gate.data<float>(), *up = in.up.data<float>();
  const Vec16 one = set16(1.0f);
  each16(dy.numel(), [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 z = load16(gate + i, size), g = load16(slopes + i, size);
    const Vec16 s = div16(one, one_plus_exp_minus(act.argument(z)));
    const Vec16 slope = mul16(s, fma16(act.slope(z), sub16(one, s), one));
    const Vec16 through_gate = mul16(mul16(g, load16(up + i, size)), slope);
    store16(mul16(g, mul16(z, s)), to_up + i, size);
    store16(through_gate, to_gate + i, size);
  });
}

void glu_part(Tensor y, const GluInput& in) {
  switch (in.activation) {
    case Activation::kSilu:
      return glu_of(Silu(), y, in);
    case Activation::kGeluTanh:
      return glu_of(GeluTanh(), y, in);
  }
}

void glu_backward_part(Tensor dgate, Tensor dup, Tensor dy, const GluInput& in) {
  switch (in.activation) {
    case Activation::kSilu:
      return glu_backward_of(Silu(), dgate, dup, dy, in);
    case Activation::kGeluTanh:
      return glu_backward_of(GeluTanh(), dgate, dup, dy, in);
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

HWY_EXPORT(glu_part);
HWY_EXPORT(glu_backward_part);

/// A thread's elements of tensors of one shape.
struct Part {
  int64_t begin, end;

  Tensor of(const Tensor& whole) const { return whole.view({whole.numel()}).slice(begin, end); }
  GluInput of(const GluInput& in) const { return {of(in.gate), of(in.up), in.activation}; }
};

}  // namespace

void glu(Context& ctx, Tensor y, const GluInput& in) {
  parallel_ranges(ctx.threads(), y.numel(), 1, [&](int64_t begin, int64_t end) {
    const Part part{begin, end};
    HWY_DYNAMIC_DISPATCH(glu_part)(part.of(y), part.of(in));
  });
}

void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in) {
  parallel_ranges(ctx.threads(), dy.numel(), 1, [&](int64_t begin, int64_t end) {
    const Part part{begin, end};
    HWY_DYNAMIC_DISPATCH(glu_backward_part)
    (part.of(dgate), part.of(dup), part.of(dy), part.of(in));
  });
}

}  // namespace tessera::cpu
#endif
