#include "runtime/ops/softcap.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/softcap.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

void softcap_range(float* x, float cap, int64_t n) {
  each16(n, [&](int64_t i, auto size)
                HWY_ATTR { store16(cap16(load16(x + i, size), cap), x + i, size); });
}

void softcap_backward_range(float* dx, const float* y, float cap, int64_t n) {
  const Vec16 one = set16(1.0f), divisor = set16(cap);
  each16(n, [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 tanh = div16(load16(y + i, size), divisor);
    const Vec16 slope = sub16(one, mul16(tanh, tanh));
    store16(mul16(load16(dx + i, size), slope), dx + i, size);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(softcap_range);
HWY_EXPORT(softcap_backward_range);

void softcap(Context& ctx, Tensor x, float cap) {
  float* values = x.data<float>();
  parallel_ranges(ctx.threads(), x.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(softcap_range)(values + begin, cap, end - begin);
  });
}

void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap) {
  float* slopes = dx.data<float>();
  const float* capped = y.data<float>();
  parallel_ranges(ctx.threads(), dx.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(softcap_backward_range)(slopes + begin, capped + begin, cap, end - begin);
  });
}

}  // namespace tessera::cpu
#endif
