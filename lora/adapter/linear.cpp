#include "lora/adapter/linear.h"

#include "quant/frozen_matmul.h"
#include "runtime/ops/add.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/scale.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {

Tensor Linear::dropped(Context& ctx, Tensor x) const {
  if (dropout_ == 0.0f) return x;
  Tensor kept = ctx.scratch().tensor(x.dtype(), {x.rows(), x.cols()});
  dropout(ctx, kept, x, key_, dropout_);
  return kept;
}

void Linear::forward(Context& ctx, Tensor y, Tensor u, Tensor x) const {
  if (!adapter_) {
    if (y) quant::frozen_matmul(ctx, y, x, weight_, {});
  } else {
    forward_with_adapter(ctx, y, u, x);
  }
  if (y && bias_) add_bias(ctx, y, bias_);
}

void Linear::forward_with_adapter(Context& ctx, Tensor y, Tensor u, Tensor x) const {
  const PartScope part(ctx.timeline(), ComputePart::kAdapters);
  {
    ArenaScope scope(ctx.scratch());
    const Tensor a = as_dtype(ctx, adapter_->a, x.dtype());
    matmul(ctx, u, dropped(ctx, x), a, {.transpose_b = true});
    scale(ctx, u, adapter_->scale);
  }
  if (!y) return;
  ArenaScope scope(ctx.scratch());
  quant::frozen_matmul(ctx, y, x, weight_, {u, as_dtype(ctx, adapter_->b, x.dtype())});
}

void Linear::backward(Context& ctx, InputGrad grad, Tensor dy, Tensor x, Tensor u) const {
  ArenaScope scope(ctx.scratch());
  if (!adapter_) {
    if (grad.dx) quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {}, grad.accumulate);
    return;
  }
  const PartScope part(ctx.timeline(), ComputePart::kAdapters);
  // The adapter adds u B^T to y, with u = scale * dropout(x) A^T. Hence:
  //   dB += dy^T u,  du = scale * dy B,  dA += du^T dropout(x),
  // and dx gets dy W, and du A through the mask.
  const Tensor a = as_dtype(ctx, adapter_->a, x.dtype());
  const Tensor b = as_dtype(ctx, adapter_->b, x.dtype());
  Tensor du = ctx.scratch().tensor(x.dtype(), {dy.rows(), rank()});
  matmul(ctx, adapter_->db, dy, u, {.transpose_a = true, .accumulate = true});
  matmul(ctx, du, dy, b, {});
  scale(ctx, du, adapter_->scale);
  matmul(ctx, adapter_->da, du, dropped(ctx, x), {.transpose_a = true, .accumulate = true});
  if (!grad.dx) return;
  if (dropout_ == 0.0f) {
    quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {du, a}, grad.accumulate);
    return;
  }
  Tensor branch = ctx.scratch().tensor(x.dtype(), {x.rows(), x.cols()});
  quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {}, grad.accumulate);
  matmul(ctx, branch, du, a, {});
  dropout_backward(ctx, grad.dx, branch, key_, dropout_);
}

}  // namespace tessera::lora
