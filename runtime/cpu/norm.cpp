#include "runtime/ops/norm.h"

#include <cmath>

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/norm.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// One row: y[C] = (x * r) * w; returns r.
template <class Weight>
HWY_INLINE float rmsnorm_row_of(float* y, const float* x, const Weight* w, int64_t cols,
                                float eps) {
  Vec16 squares = zero16();
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 v = load16(x + c, size);
    squares = fma16(v, v, squares);
  });
  const float rstd = 1.0f / std::sqrt(sum16(squares) / float(cols) + eps);
  const Vec16 r = set16(rstd);
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    store16(mul16(mul16(load16(x + c, size), r), load16(w + c, size)), y + c, size);
  });
  return rstd;
}

/// One row: dx += rstd * (g - n * mean(g * n)).
template <class Weight>
HWY_INLINE void rmsnorm_backward_row_of(float* dx, const float* dy, const float* x, const Weight* w,
                                        int64_t cols, float rstd) {
  const Vec16 r = set16(rstd);
  Vec16 products = zero16();
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 g = mul16(load16(dy + c, size), load16(w + c, size));
    products = fma16(g, mul16(load16(x + c, size), r), products);
  });
  const Vec16 minus_mean = set16(-sum16(products) / float(cols));
  each16(cols, [&](int64_t c, auto size) HWY_ATTR {
    const Vec16 g = mul16(load16(dy + c, size), load16(w + c, size));
    const Vec16 slope = fma16(mul16(load16(x + c, size), r), minus_mean, g);
    store16(fma16(slope, r, load16(dx + c, size)), dx + c, size);
  });
}

float rmsnorm_row(float* y, const float* x, Tensor w, float eps) {
  const int64_t cols = w.numel();
  if (w.dtype() == DType::kBF16) return rmsnorm_row_of(y, x, w.data<bf16>(), cols, eps);
  if (w.dtype() == DType::kF16) return rmsnorm_row_of(y, x, w.data<f16>(), cols, eps);
  return rmsnorm_row_of(y, x, w.data<float>(), cols, eps);
}

void rmsnorm_backward_row(float* dx, const float* dy, const float* x, Tensor w, float rstd) {
  const int64_t cols = w.numel();
  if (w.dtype() == DType::kBF16) {
    rmsnorm_backward_row_of(dx, dy, x, w.data<bf16>(), cols, rstd);
  } else if (w.dtype() == DType::kF16) {
    rmsnorm_backward_row_of(dx, dy, x, w.data<f16>(), cols, rstd);
  } else {
    rmsnorm_backward_row_of(dx, dy, x, w.data<float>(), cols, rstd);
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(rmsnorm_row);
HWY_EXPORT(rmsnorm_backward_row);

void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, Tensor w, float eps) {
  const int64_t cols = x.cols();
  const float* in = x.data<float>();
  float* out = y.data<float>();
  float* scale = rstd.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      scale[i] = HWY_DYNAMIC_DISPATCH(rmsnorm_row)(out + i * cols, in + i * cols, w, eps);
    }
  });
}

void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd) {
  const int64_t cols = x.cols();
  const float *in = x.data<float>(), *slope = dy.data<float>(), *scale = rstd.data<float>();
  float* out = dx.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(rmsnorm_backward_row)
      (out + i * cols, slope + i * cols, in + i * cols, w, scale[i]);
    }
  });
}

}  // namespace tessera::cpu
#endif
