#include "runtime/ops/add.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void add(Context& ctx, Tensor y, Tensor x) {
  TESSERA_CHECK(all_f32(ctx, {y, x}) || all_activations(ctx, {y, x}));
  TESSERA_CHECK(same_shape(y, x));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::add(ctx, y, x);
  }
  cpu::add(ctx, y, x);
}

}  // namespace tessera
