#include "runtime/ops/dropout.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void check_key(const DropoutKey& key) {
  TESSERA_CHECK(key.step >> 32 == 0 && key.micro_batch >> 32 == 0);
  TESSERA_CHECK(key.layer >> 16 == 0 && key.site >> 8 == 0);
}

namespace {

void check_dropout(Context& ctx, const Tensor& y, const Tensor& x, const DropoutKey& key, float p) {
  TESSERA_CHECK(all_activations(ctx, {y, x}) && same_shape(y, x) && x.numel() <= int64_t{1} << 42);
  TESSERA_CHECK(0.0f <= p && p < 1.0f);
  check_key(key);
}

}  // namespace

void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p) {
  check_dropout(ctx, y, x, key, p);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::dropout(ctx, y, x, key, p);
  }
  cpu::dropout(ctx, y, x, key, p);
}

void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p) {
  check_dropout(ctx, dx, dy, key, p);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::dropout_backward(ctx, dx, dy, key, p);
  }
  cpu::dropout_backward(ctx, dx, dy, key, p);
}

}  // namespace tessera
