#include "runtime/ops/activation.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void swiglu(Context& ctx, Tensor y, Tensor gate, Tensor up) {
  TESSERA_CHECK(all_activations(ctx, {y, gate, up}) && same_shape(y, gate) && same_shape(y, up));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::swiglu(ctx, y, gate, up);
  }
  cpu::swiglu(ctx, y, gate, up);
}

void swiglu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  TESSERA_CHECK(all_activations(ctx, {dgate, dup, dy, gate, up}));
  TESSERA_CHECK(same_shape(dgate, gate) && same_shape(dup, gate));
  TESSERA_CHECK(same_shape(dy, gate) && same_shape(up, gate));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::swiglu_backward(ctx, dgate, dup, dy, gate, up);
  }
  cpu::swiglu_backward(ctx, dgate, dup, dy, gate, up);
}

}  // namespace tessera
