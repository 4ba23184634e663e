#include "runtime/ops/norm.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm) {
  TESSERA_CHECK(all_activations(ctx, {y, x}) && all_f32(ctx, {rstd}));
  TESSERA_CHECK(is_float_weight(ctx, norm.weight) && norm.weight.numel() == x.cols());
  TESSERA_CHECK(same_shape(y, x) && rstd.numel() == x.rows());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rmsnorm(ctx, y, rstd, x, norm);
  }
  cpu::rmsnorm(ctx, y, rstd, x, norm);
}

void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd) {
  TESSERA_CHECK(all_activations(ctx, {dx, dy, x}) && all_f32(ctx, {rstd}));
  TESSERA_CHECK(is_float_weight(ctx, norm.weight) && norm.weight.numel() == x.cols());
  TESSERA_CHECK(same_shape(dx, x) && same_shape(dy, x) && rstd.numel() == x.rows());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rmsnorm_backward(ctx, dx, dy, x, norm, rstd);
  }
  cpu::rmsnorm_backward(ctx, dx, dy, x, norm, rstd);
}

}  // namespace tessera
