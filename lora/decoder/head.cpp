#include "lora/decoder/head.h"

#include <algorithm>
#include <vector>

#include "quant/frozen_matmul.h"
#include "runtime/ops/argmax.h"
#include "runtime/ops/columns.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/scale.h"
#include "runtime/ops/softcap.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

/// The positions that have a target, their targets, and their weights if the batch has any.
struct Supervised {
  std::vector<int32_t> rows, targets;
  std::vector<float> weights;
};

Supervised supervised_of(const BatchView& batch) {
  TESSERA_CHECK(batch.weights.empty() || batch.weights.size() == batch.targets.size());
  Supervised supervised;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.targets[i] < 0) continue;
    supervised.rows.push_back(int32_t(i));
    supervised.targets.push_back(batch.targets[i]);
    if (!batch.weights.empty()) supervised.weights.push_back(batch.weights[i]);
  }
  return supervised;
}

/// A chunk's weights for operators: a view of them on the CPU, on a GPU a copy in `memory`.
Tensor weights_where_computed(Context& ctx, Tensor memory, std::span<const float> weights) {
  const auto n = int64_t(weights.size());
  if (!ctx.device().is_cuda()) return Tensor::of(weights, {n});
  const Tensor there(memory.raw(), DType::kF32, {n}, ctx.device());
  TESSERA_CHECK(there.bytes() <= memory.bytes());
  upload(ctx, there.raw(), weights.data(), weights.size_bytes());
  return there;
}

/// In token order. An empty `weights`: every weight is 1.
double weighted_sum(std::span<const float> losses, std::span<const float> weights) {
  double sum = 0.0;
  for (size_t i = 0; i < losses.size(); ++i) {
    sum += weights.empty() ? double(losses[i]) : double(weights[i]) * double(losses[i]);
  }
  return sum;
}

/// Appends those of each position to what the caller asked for, when all chunks have run.
void give(Context& ctx, const HeadLoss& out, std::span<const float> losses, Tensor guesses) {
  if (out.losses) out.losses->insert(out.losses->end(), losses.begin(), losses.end());
  if (!out.guesses || ctx.measuring()) return;
  const size_t before = out.guesses->size();
  out.guesses->resize(before + size_t(guesses.numel()));
  copy_bytes(ctx, out.guesses->data() + before, guesses.raw(), guesses.bytes());
  ctx.compute_stream().synchronize();
}

/// Rows x[n,C] before the output embedding, h[n,C]. The logits' scale is applied here, where there
/// is less to multiply.
void normalize(Context& ctx, Tensor h, Tensor rstd, Tensor x, const Head& head) {
  rmsnorm(ctx, h, rstd, x, head.norm);
  if (head.logit_scale != 1.0f) scale(ctx, h, head.logit_scale);
}

/// The head as products take it: what is trained on a GPU in the activations' type, in scratch.
Head with_matrix(Context& ctx, Head head) {
  if (head.rows.w) head.rows.w = as_dtype(ctx, head.rows.w, ctx.activation_dtype());
  if (!head.trained) return head;
  const Tensor w = as_dtype(ctx, head.trained, ctx.activation_dtype());
  head.matrix = {{{quant::format_of(w.dtype())}, w.rows(), w.cols()},
                 static_cast<const std::byte*>(w.raw())};
  return head;
}

void make_logits(Context& ctx, Tensor logits, Tensor h, const Head& head) {
  quant::frozen_matmul(ctx, logits, h, head.matrix, {});
  if (head.rows.w) {
    ArenaScope scope(ctx.scratch());
    const Tensor own = ctx.scratch().tensor(h.dtype(), {h.rows(), head.rows.w.rows()});
    matmul(ctx, own, h, head.rows.w, {.transpose_b = true});
    put_columns(ctx, logits, own, head.rows.ids);
  }
  if (head.softcap > 0.0f) softcap(ctx, logits, head.softcap);
}

/// dh[n,C] of h[n,C] by the logits' gradient d, which is overwritten. Adds to the gradients of what
/// is trained.
void head_backward(Context& ctx, Tensor dh, Tensor d, Tensor h, const Head& head) {
  ArenaScope scope(ctx.scratch());
  constexpr MatmulOptions kOfWeights = {.transpose_a = true, .accumulate = true};
  if (head.gradient) matmul(ctx, head.gradient, d, h, kOfWeights);
  quant::LowRank rows = {};
  if (head.rows.w) {
    rows = {ctx.scratch().tensor(d.dtype(), {d.rows(), head.rows.w.rows()}), head.rows.w};
    take_columns(ctx, rows.left, d, head.rows.ids);
    matmul(ctx, head.rows.gradient, rows.left, h, kOfWeights);
  }
  quant::frozen_matmul_backward(ctx, dh, d, head.matrix, rows, false);
}

}  // namespace

int64_t head_chunk_rows(int64_t vocab, DType logit) {
  constexpr int64_t kLogitBytes = int64_t{64} << 20;
  return std::clamp<int64_t>(kLogitBytes / (int64_t(size_of(logit)) * vocab), 16, 1024);
}

void head_logits(Context& ctx, Tensor logits, Tensor x, const Head& given) {
  const PartScope part(ctx.timeline(), ComputePart::kHead);
  ArenaScope scope(ctx.scratch());
  const Head head = with_matrix(ctx, given);
  Tensor h = ctx.scratch().tensor(x.dtype(), {x.rows(), x.cols()});
  Tensor rstd = ctx.scratch().f32({x.rows()});
  normalize(ctx, h, rstd, x, head);
  make_logits(ctx, logits, h, head);
}

double head_loss(Context& ctx, const HeadLoss& out, Tensor x, const BatchView& batch,
                 const Head& given, const Loss& loss) {
  const PartScope part(ctx.timeline(), ComputePart::kHead);
  const Supervised supervised = ctx.measuring() ? Supervised() : supervised_of(batch);
  if (out.d) fill_zero(ctx, out.d);
  ArenaScope scope(ctx.scratch());
  const Head head = with_matrix(ctx, given);
  const int64_t vocab = head.matrix.spec().rows, hidden = x.cols();
  const auto total = ctx.measuring() ? batch.tokens() : int64_t(supervised.rows.size());
  const int64_t chunk = std::min(total, head_chunk_rows(vocab, x.dtype()));
  const auto activation = [&](int64_t columns) {
    return ctx.scratch().tensor(x.dtype(), {chunk, columns});
  };
  Tensor hidden_rows = activation(hidden), normed = activation(hidden);
  Tensor d_normed = activation(hidden), logits = activation(vocab);
  // The loss overwrites the logits, on which the gradient of their bound depends.
  Tensor bounded = out.d && head.softcap > 0.0f ? activation(vocab) : Tensor();
  Tensor rstd = ctx.scratch().f32({chunk});
  Tensor losses = ctx.scratch().f32({total});
  Tensor guesses = out.guesses ? ctx.scratch().tensor(DType::kI32, {total}) : Tensor();
  // All chunks but the last take the same: measuring goes from the first one to the last.
  const auto after = [&](int64_t begin) {
    return ctx.measuring() ? std::max(begin + chunk, (total - 1) / chunk * chunk) : begin + chunk;
  };
  for (int64_t begin = 0; begin < total; begin = after(begin)) {
    const int64_t n = std::min(chunk, total - begin);
    const std::span<const int32_t> index(supervised.rows.data() + begin, size_t(n));
    Tensor xs = hidden_rows.slice(0, n), hs = normed.slice(0, n), ls = logits.slice(0, n);
    Tensor rs = rstd.slice(0, n), dh = d_normed.slice(0, n), weights;
    gather_rows(ctx, xs, x, index);
    normalize(ctx, hs, rs, xs, head);
    make_logits(ctx, ls, hs, head);
    if (bounded) copy(ctx, bounded.slice(0, n), ls);
    if (guesses) argmax(ctx, guesses.slice(begin, begin + n), ls);
    if (!supervised.weights.empty()) {
      // dh is free until the loss is done, so weights take no memory of their own.
      weights = weights_where_computed(ctx, dh, {supervised.weights.data() + begin, size_t(n)});
    }
    loss.compute(ctx, {.losses = losses.slice(begin, begin + n),
                       .logits = ls,
                       .targets = {supervised.targets.data() + begin, size_t(n)},
                       .weights = weights,
                       .scale = out.scale,
                       .settings = loss.settings});
    if (!out.d) continue;
    if (bounded) softcap_backward(ctx, ls, bounded.slice(0, n), head.softcap);
    head_backward(ctx, dh, ls, hs, head);
    if (head.logit_scale != 1.0f) scale(ctx, dh, head.logit_scale);
    fill_zero(ctx, hs);
    rmsnorm_backward(ctx, hs, dh, xs, head.norm, rs);
    scatter_rows(ctx, out.d, hs, index);
  }
  const std::vector<float> all = to_host(ctx, losses);
  give(ctx, out, all, guesses);
  return weighted_sum(all, supervised.weights);
}

}  // namespace tessera::lora
