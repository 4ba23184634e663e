#include "runtime/ops/rope.h"

#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/rope.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// Turns one head: x[2 * half] by cos[half] and sign * sin[half].
void rope_head(float* x, const float* cos, const float* sin, int64_t half, float sign) {
  const Vec16 direction = set16(sign);
  each16(half, [&](int64_t i, auto size) HWY_ATTR {
    const Vec16 c = load16(cos + i, size), s = mul16(load16(sin + i, size), direction);
    const Vec16 a = load16(x + i, size), b = load16(x + half + i, size);
    // Products and sums are rounded one by one, as in transformers' apply_rotary_pos_emb.
    store16(sub16(mul16(a, c), mul16(b, s)), x + i, size);
    store16(add16(mul16(b, c), mul16(a, s)), x + half + i, size);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

HWY_EXPORT(rope_head);

struct RopeTable {
  Tensor cos;
  Tensor sin;
};

void turn(Context& ctx, Tensor x, Tensor positions, const RopeTable& table, float sign) {
  const int64_t half = table.cos.cols(), cols = x.cols();
  float* values = x.data<float>();
  const int32_t* position = positions.data<int32_t>();
  for (int64_t i = 0; i < x.rows(); ++i) {
    TESSERA_CHECK(0 <= position[i] && position[i] < table.cos.rows());
  }
  const float *cos = table.cos.data<float>(), *sin = table.sin.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = position[i] * half;
      for (int64_t h = 0; h < cols; h += 2 * half) {
        HWY_DYNAMIC_DISPATCH(rope_head)(values + i * cols + h, cos + row, sin + row, half, sign);
      }
    }
  });
}

}  // namespace

void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin) {
  turn(ctx, x, positions, {cos, sin}, 1.0f);
}

void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin) {
  turn(ctx, dx, positions, {cos, sin}, -1.0f);
}

}  // namespace tessera::cpu
#endif
