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

void add_bias(Context& ctx, Tensor y, Tensor bias) {
  TESSERA_CHECK(all_activations(ctx, {y}) && is_float_weight(ctx, bias));
  TESSERA_CHECK(bias.numel() == y.cols());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::add_bias(ctx, y, bias);
  }
  cpu::add_bias(ctx, y, bias);
}

}  // namespace tessera
