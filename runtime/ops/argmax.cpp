#include "runtime/ops/argmax.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void argmax(Context& ctx, Tensor columns, Tensor logits) {
  TESSERA_CHECK(all_activations(ctx, {logits}) && logits.dims() == 2);
  TESSERA_CHECK(columns.dtype() == DType::kI32 && columns.device() == ctx.device());
  TESSERA_CHECK(columns.numel() == logits.rows());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::argmax(ctx, columns, logits);
  }
  cpu::argmax(ctx, columns, logits);
}

}  // namespace tessera
