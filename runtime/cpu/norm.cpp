#include "runtime/ops/norm.h"

#include <cmath>

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/norm.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// A row's weights, and what is added to each.
template <class T>
struct NormWeights {
  const T* w;
  float plus;

  template <class Size>
  HWY_INLINE Vec16 load(int64_t c, Size size) const {
    return add16(load16(w + c, size), set16(plus));
  }
};

/// One row: y[C] = (x * r) * (w + plus); returns r.
template <class Weights>
HWY_INLINE float rmsnorm_row_of(float* y, const float* x, const Weights& weights, int64_t cols,
                                float eps) {
  Vec16 squares = zero16();
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 v = load16(x + c, size);
    squares = fma16(v, v, squares);
  });
  const float rstd = 1.0f / std::sqrt(sum16(squares) / float(cols) + eps);
  const Vec16 r = set16(rstd);
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    store16(mul16(mul16(load16(x + c, size), r), weights.load(c, size)), y + c, size);
  });
  return rstd;
}

/// One row: dx += rstd * (g - n * mean(g * n)).
template <class Weights>
HWY_INLINE void rmsnorm_backward_row_of(float* dx, const float* dy, const float* x,
                                        const Weights& weights, int64_t cols, float rstd) {
  const Vec16 r = set16(rstd);
  Vec16 products = zero16();
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 g = mul16(load16(dy + c, size), weights.load(c, size));
    products = fma16(g, mul16(load16(x + c, size), r), products);
  });
  const Vec16 minus_mean = set16(-sum16(products) / float(cols));
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 g = mul16(load16(dy + c, size), weights.load(c, size));
    const Vec16 slope = fma16(mul16(load16(x + c, size), r), minus_mean, g);
    store16(fma16(slope, r, load16(dx + c, size)), dx + c, size);
  });
}

/// f(weights) with those of the norm in their dtype.
template <class F>
HWY_INLINE auto with_weights(const RmsNorm& norm, const F& f) {
  const Tensor& w = norm.weight;
  if (w.dtype() == DType::kBF16) return f(NormWeights<bf16>{w.data<bf16>(), norm.plus});
  if (w.dtype() == DType::kF16) return f(NormWeights<f16>{w.data<f16>(), norm.plus});
  return f(NormWeights<float>{w.data<float>(), norm.plus});
}

float rmsnorm_row(float* y, const float* x, const RmsNorm& norm) {
  return with_weights(norm, [&](const auto& weights) HWY_ATTR {
    return rmsnorm_row_of(y, x, weights, norm.weight.numel(), norm.eps);
  });
}

void rmsnorm_backward_row(float* dx, const float* dy, const float* x, const RmsNorm& norm,
                          float rstd) {
  with_weights(norm, [&](const auto& weights) HWY_ATTR {
    rmsnorm_backward_row_of(dx, dy, x, weights, norm.weight.numel(), rstd);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(rmsnorm_row);
HWY_EXPORT(rmsnorm_backward_row);

void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm) {
  const int64_t cols = x.cols();
  const float* in = x.data<float>();
  float* out = y.data<float>();
  float* scale = rstd.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      scale[i] = HWY_DYNAMIC_DISPATCH(rmsnorm_row)(out + i * cols, in + i * cols, norm);
    }
  });
}

void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd) {
  const int64_t cols = x.cols();
  const float *in = x.data<float>(), *slope = dy.data<float>(), *scale = rstd.data<float>();
  float* out = dx.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(rmsnorm_backward_row)
      (out + i * cols, slope + i * cols, in + i * cols, norm, scale[i]);
    }
  });
}

}  // namespace tessera::cpu
#endif
