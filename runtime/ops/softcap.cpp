#include "runtime/ops/softcap.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void softcap(Context& ctx, Tensor x, float cap) {
  TESSERA_CHECK(all_activations(ctx, {x}) && cap > 0.0f);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::softcap(ctx, x, cap);
  }
  cpu::softcap(ctx, x, cap);
}

void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap) {
  TESSERA_CHECK(all_activations(ctx, {dx, y}) && same_shape(dx, y) && cap > 0.0f);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::softcap_backward(ctx, dx, y, cap);
  }
  cpu::softcap_backward(ctx, dx, y, cap);
}

}  // namespace tessera
