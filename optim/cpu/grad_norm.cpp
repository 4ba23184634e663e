#include "optim/grad_norm.h"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/cpu/grad_norm.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::optim::cpu::HWY_NAMESPACE {

namespace vec = tessera::cpu::HWY_NAMESPACE;

float sum_of_squares_impl(std::span<const float> values) {
  const float* x = values.data();
  const int64_t n = int64_t(values.size());
  vec::Vec16 sum = vec::zero16();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const vec::Vec16 part = vec::load16(x + i);
    sum = vec::fma16(part, part, sum);
  }
  if (i < n) {
    const vec::Vec16 part = vec::load16(x + i, n - i);
    sum = vec::fma16(part, part, sum);
  }
  return vec::sum16(sum);
}

}  // namespace tessera::optim::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::optim::cpu {

HWY_EXPORT(sum_of_squares_impl);

float sum_of_squares(std::span<const float> values) {
  return HWY_DYNAMIC_DISPATCH(sum_of_squares_impl)(values);
}

}  // namespace tessera::optim::cpu
#endif
