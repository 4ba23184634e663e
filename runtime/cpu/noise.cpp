#include "runtime/ops/noise.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/noise.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/philox-inl.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// Elements [begin, end) of x; begin is a multiple of 64.
void noise_range(float* x, int64_t begin, int64_t end, const DropoutKey& key, float bound) {
  HWY_ALIGN uint32_t words[64];
  const D d;
  const DU du;
  const auto unit = hn::Set(d, 0x1p-23f), one = hn::Set(d, 1.0f), most = hn::Set(d, bound);
  each16(end - begin, [&](int64_t offset, auto size) HWY_ATTR {
    const int64_t i = begin + offset;
    if (offset % (4 * kLanes) == 0) philox_lanes(key, uint64_t(i) / 4, words);
    Vec16 noise;
    for (int p = 0; p < kParts; ++p) {
      const VU word = hn::Load(du, words + offset % (4 * kLanes) + p * kLanes);
      // 24 bits, which float32 and the signed conversion hold exactly.
      const auto whole =
          hn::ConvertTo(d, hn::BitCast(hn::RebindToSigned<DU>(), hn::ShiftRight<8>(word)));
      noise.part[p] = hn::Mul(hn::Sub(hn::Mul(whole, unit), one), most);
    }
    store16(add16(load16(x + i, size), noise), x + i, size);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(noise_range);

void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound) {
  float* values = x.data<float>();
  parallel_ranges(ctx.threads(), x.numel(), 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(noise_range)(values, begin, end, key, bound);
  });
}

}  // namespace tessera::cpu
#endif
