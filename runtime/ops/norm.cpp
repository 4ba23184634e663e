#include "runtime/ops/norm.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, Tensor w, float eps) {
  TESSERA_CHECK(all_activations(ctx, {y, x}) && all_f32(ctx, {rstd}) && is_float_weight(ctx, w));
  TESSERA_CHECK(same_shape(y, x) && rstd.numel() == x.rows() && w.numel() == x.cols());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rmsnorm(ctx, y, rstd, x, w, eps);
  }
  cpu::rmsnorm(ctx, y, rstd, x, w, eps);
}

void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd) {
  TESSERA_CHECK(all_activations(ctx, {dx, dy, x}) && all_f32(ctx, {rstd}));
  TESSERA_CHECK(is_float_weight(ctx, w));
  TESSERA_CHECK(same_shape(dx, x) && same_shape(dy, x));
  TESSERA_CHECK(rstd.numel() == x.rows() && w.numel() == x.cols());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rmsnorm_backward(ctx, dx, dy, x, w, rstd);
  }
  cpu::rmsnorm_backward(ctx, dx, dy, x, w, rstd);
}

}  // namespace tessera
