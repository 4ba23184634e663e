#include "lora/linear.h"

#include "quant/frozen_matmul.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/scale.h"

namespace tessera::lora {

Tensor Linear::dropped(Context& ctx, Tensor x) const {
  if (dropout_ == 0.0f) return x;
  Tensor kept = ctx.scratch().f32({x.rows(), x.cols()});
  dropout(ctx, kept, x, key_, dropout_);
  return kept;
}

void Linear::forward(Context& ctx, Tensor y, Tensor u, Tensor x) const {
  if (adapter_) {
    ArenaScope scope(ctx.scratch());
    matmul(ctx, u, dropped(ctx, x), adapter_->a, {.transpose_b = true});
    scale(ctx, u, adapter_->scale);
  }
  if (!y) return;
  const quant::LowRank update = adapter_ ? quant::LowRank{u, adapter_->b} : quant::LowRank{};
  quant::frozen_matmul(ctx, y, x, weight_, update);
}

void Linear::backward(Context& ctx, InputGrad grad, Tensor dy, Tensor x, Tensor u) const {
  ArenaScope scope(ctx.scratch());
  if (!adapter_) {
    if (grad.dx) quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {}, grad.accumulate);
    return;
  }
  // With u = scale * x A^T and y = u B^T:  dB += dy^T u,  du = scale * dy B,  dA += du^T x,  dx +=
  // du A.
  Tensor du = ctx.scratch().f32({dy.rows(), rank()});
  matmul(ctx, adapter_->db, dy, u, {.transpose_a = true, .accumulate = true});
  matmul(ctx, du, dy, adapter_->b, {});
  scale(ctx, du, adapter_->scale);
  matmul(ctx, adapter_->da, du, dropped(ctx, x), {.transpose_a = true, .accumulate = true});
  if (!grad.dx) return;
  if (dropout_ == 0.0f) {
    quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {du, adapter_->a}, grad.accumulate);
    return;
  }
  // The adapter's part of dx passes through the mask before it joins.
  Tensor branch = ctx.scratch().f32({x.rows(), x.cols()});
  quant::frozen_matmul_backward(ctx, grad.dx, dy, weight_, {}, grad.accumulate);
  matmul(ctx, branch, du, adapter_->a, {});
  dropout_backward(ctx, grad.dx, branch, key_, dropout_);
}

}  // namespace tessera::lora
