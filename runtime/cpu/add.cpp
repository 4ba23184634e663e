#include "runtime/ops/add.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/add.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

void add_range(float* y, const float* x, int64_t n) {
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    store16(add16(load16(y + i, size), load16(x + i, size)), y + i, size);
  });
}

template <class T>
HWY_INLINE void add_row_of(float* y, const T* bias, int64_t n) {
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    store16(add16(load16(y + i, size), load16(bias + i, size)), y + i, size);
  });
}

void add_row(float* y, const Tensor& bias) {
  const int64_t n = bias.numel();
  if (bias.dtype() == DType::kBF16) return add_row_of(y, bias.data<bf16>(), n);
  if (bias.dtype() == DType::kF16) return add_row_of(y, bias.data<f16>(), n);
  add_row_of(y, bias.data<float>(), n);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(add_range);
HWY_EXPORT(add_row);

void add(Context& ctx, Tensor y, Tensor x) {
  float* out = y.data<float>();
  const float* in = x.data<float>();
  parallel_ranges(ctx.threads(), y.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_range)(out + begin, in + begin, end - begin);
  });
}

void add_bias(Context& ctx, Tensor y, Tensor bias) {
  float* out = y.data<float>();
  const int64_t cols = y.cols();
  parallel_ranges(ctx.threads(), y.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) HWY_DYNAMIC_DISPATCH(add_row)(out + i * cols, bias);
  });
}

}  // namespace tessera::cpu
#endif
