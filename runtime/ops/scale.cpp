#include "runtime/ops/scale.h"

namespace tessera {

void scale(Context& ctx, Tensor x, float factor) {
  TESSERA_CHECK(x.dtype() == DType::kF32);
  if (ctx.measuring() || factor == 1.0f) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::scale(ctx, x, factor);
  }
  cpu::scale(ctx, x, factor);
}

}  // namespace tessera
