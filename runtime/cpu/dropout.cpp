#include "runtime/ops/dropout.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/dropout.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/philox-inl.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// Elements [begin, end) of the tensors; begin is a multiple of 64.
template <bool kAccumulate>
HWY_INLINE void dropout_range_of(float* y, const float* x, int64_t begin, int64_t end,
                                 const DropoutMask& mask) {
  HWY_ALIGN uint32_t words[64];
  const DU d;
  const VU threshold = hn::Set(d, mask.threshold);
  const Vec16 scale = set16(mask.scale);
  each16(end - begin, [&](int64_t offset, auto size) HWY_ATTR {
    const int64_t i = begin + offset;
    if (offset % (4 * kLanes) == 0) philox_lanes(mask.key, uint64_t(i) / 4, words);
    Vec16 kept = mul16(load16(x + i, size), scale);
    for (int p = 0; p < kParts; ++p) {
      const VU word = hn::Load(d, words + offset % (4 * kLanes) + p * kLanes);
      const auto keep = hn::RebindMask(D(), hn::Not(hn::Lt(word, threshold)));
      kept.part[p] = hn::IfThenElseZero(keep, kept.part[p]);
    }
    store16(kAccumulate ? add16(load16(y + i, size), kept) : kept, y + i, size);
  });
}

void dropout_range(float* y, const float* x, int64_t begin, int64_t end, const DropoutMask& mask) {
  dropout_range_of<false>(y, x, begin, end, mask);
}
void dropout_backward_range(float* dx, const float* dy, int64_t begin, int64_t end,
                            const DropoutMask& mask) {
  dropout_range_of<true>(dx, dy, begin, end, mask);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(dropout_range);
HWY_EXPORT(dropout_backward_range);

void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p) {
  const DropoutMask mask = dropout_mask(key, p);
  float* out = y.data<float>();
  const float* in = x.data<float>();
  parallel_ranges(ctx.threads(), x.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_range)(out, in, begin, end, mask);
  });
}

void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p) {
  const DropoutMask mask = dropout_mask(key, p);
  float* out = dx.data<float>();
  const float* in = dy.data<float>();
  parallel_ranges(ctx.threads(), dy.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_backward_range)(out, in, begin, end, mask);
  });
}

}  // namespace tessera::cpu
#endif
