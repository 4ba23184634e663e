#include "runtime/ops/activation.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void glu(Context& ctx, Tensor y, const GluInput& in) {
  TESSERA_CHECK(all_activations(ctx, {y, in.gate, in.up}));
  TESSERA_CHECK(same_shape(y, in.gate) && same_shape(y, in.up));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::glu(ctx, y, in);
  }
  cpu::glu(ctx, y, in);
}

void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in) {
  TESSERA_CHECK(all_activations(ctx, {dgate, dup, dy, in.gate, in.up}));
  TESSERA_CHECK(same_shape(dgate, in.gate) && same_shape(dup, in.gate));
  TESSERA_CHECK(same_shape(dy, in.gate) && same_shape(in.up, in.gate));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::glu_backward(ctx, dgate, dup, dy, in);
  }
  cpu::glu_backward(ctx, dgate, dup, dy, in);
}

}  // namespace tessera
