#include "runtime/ops/scale.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void scale(Context& ctx, Tensor x, float factor) {
  TESSERA_CHECK(all_f32(ctx, {x}) || all_activations(ctx, {x}));
  if (ctx.measuring() || factor == 1.0f) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::scale(ctx, x, factor);
  }
  cpu::scale(ctx, x, factor);
}

}  // namespace tessera
