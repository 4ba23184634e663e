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

/// The same, of neighbouring pairs.
void turn_pairs(float* x, const float* cos, const float* sin, int64_t half, float sign) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1], s = sin[i] * sign;
    x[2 * i] = a * cos[i] - b * s;
    x[2 * i + 1] = b * cos[i] + a * s;
  }
}

void turn_heads(Context& ctx, Tensor x, const RopeTurn& turn, float sign) {
  const int64_t half = turn.cos.cols(), cols = x.cols();
  float* values = x.data<float>();
  const int32_t* table_rows = turn.rows.data<int32_t>();
  for (int64_t i = 0; i < x.rows(); ++i) {
    TESSERA_CHECK(0 <= table_rows[i] && table_rows[i] < turn.cos.rows());
  }
  const float *cos = turn.cos.data<float>(), *sin = turn.sin.data<float>();
  parallel_ranges(ctx.threads(), x.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = table_rows[i] * half;
      for (int64_t h = 0; h < cols; h += turn.head_dim) {
        float* head = values + i * cols + h;
        if (turn.interleaved) {
          turn_pairs(head, cos + row, sin + row, half, sign);
        } else {
          HWY_DYNAMIC_DISPATCH(rope_head)(head, cos + row, sin + row, half, sign);
        }
      }
    }
  });
}

}  // namespace

void rope(Context& ctx, Tensor x, const RopeTurn& turn) { turn_heads(ctx, x, turn, 1.0f); }

void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn) {
  turn_heads(ctx, dx, turn, -1.0f);
}

}  // namespace tessera::cpu
#endif
