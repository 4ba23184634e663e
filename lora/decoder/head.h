// The last norm, the output embedding and the loss, fused with their gradient and chunked over
// tokens: logits of a whole batch never exist, and unsupervised positions cost nothing.
#pragma once

#include <span>
#include <vector>

#include "quant/frozen_matrix.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

struct Head {
  Tensor norm;                 // [C]
  quant::FrozenMatrix matrix;  // [V, C]
  float rms_eps;
};

struct HeadLoss {
  Tensor d{};  // [N, C] or empty: overwritten with the gradient of scale * sum by x
  float scale = 1.0f;
  std::vector<float>* losses = nullptr;  // if set, the loss of each supervised position is appended
};

/// Sum over supervised positions (targets[i] >= 0) of -log p(targets[i]), added up in token order
/// in double. x[N,C] is the last block's output. While memory is measured all positions count and
/// no target is read.
double head_loss(Context& ctx, const HeadLoss& out, Tensor x, std::span<const int32_t> targets,
                 const Head& head);

/// logits[n,V] of rows x[n,C].
void head_logits(Context& ctx, Tensor logits, Tensor x, const Head& head);

}  // namespace tessera::lora
