// The last norm, the output embedding and a loss, fused with their gradient and chunked over
// tokens: logits of a whole batch never exist, and unsupervised positions cost nothing.
#pragma once

#include <span>
#include <vector>

#include "lora/decoder/batch.h"
#include "lora/decoder/loss.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"
#include "runtime/ops/norm.h"

namespace tessera::lora {

/// Rows of the head that are trained in place of its own.
struct TrainedRows {
  std::span<const int32_t> ids = {};  // of the rows
  Tensor w = {};                      // [ids.size(), C] in float32, or empty
  Tensor gradient = {};               // of w, as Head::gradient
};

struct Head {
  RmsNorm norm;                // of C elements
  quant::FrozenMatrix matrix;  // [V, C]
  Tensor trained = {};         // [V, C] in float32: in place of it, or empty
  Tensor gradient = {};        // of `trained`; head_loss() adds to it where it makes gradients
  TrainedRows rows = {};       // without `trained`
  float logit_scale = 1.0f;
  float softcap = 0.0f;  // > 0: the bound of the logits
};

struct HeadLoss {
  Tensor d{};  // [N, C] or empty: overwritten with the gradient of scale * sum by x
  float scale = 1.0f;
  std::vector<float>* losses = nullptr;     // if set, the loss of each supervised position is
                                            // appended, without its weight
  std::vector<int32_t>* guesses = nullptr;  // if set, the token of the largest logit of each
                                            // supervised position is appended: see argmax()
};

/// Rows that head_loss() takes at a time: as many as keep their logits within 64 MiB, which is
/// enough to amortize packing the head.
int64_t head_chunk_rows(int64_t vocab, DType logit);

/// Sum over supervised positions (batch.targets[i] >= 0) of weight times loss, added up in token
/// order in double. x[N,C] is the last block's output. While memory is measured all positions count
/// and no target is read. Weights take no memory of a device beyond what the plan measures.
double head_loss(Context& ctx, const HeadLoss& out, Tensor x, const BatchView& batch,
                 const Head& head, const Loss& loss);

/// logits[n,V] of rows x[n,C].
void head_logits(Context& ctx, Tensor logits, Tensor x, const Head& head);

}  // namespace tessera::lora
