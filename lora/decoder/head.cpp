#include "lora/decoder/head.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "quant/frozen_matmul.h"
#include "runtime/ops/cross_entropy.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

/// As many rows as keep a chunk of logits within 64 MiB: enough to amortize packing the head.
int64_t chunk_rows(int64_t vocab, DType logit) {
  constexpr int64_t kLogitBytes = int64_t{64} << 20;
  return std::clamp<int64_t>(kLogitBytes / (int64_t(size_of(logit)) * vocab), 16, 1024);
}

/// The positions that have a target, and their targets.
struct Supervised {
  std::vector<int32_t> rows, targets;
};

Supervised supervised_of(std::span<const int32_t> targets) {
  Supervised supervised;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    supervised.rows.push_back(int32_t(i));
    supervised.targets.push_back(targets[i]);
  }
  return supervised;
}

}  // namespace

void head_logits(Context& ctx, Tensor logits, Tensor x, const Head& head) {
  ArenaScope scope(ctx.scratch());
  Tensor h = ctx.scratch().tensor(x.dtype(), {x.rows(), x.cols()});
  Tensor rstd = ctx.scratch().f32({x.rows()});
  rmsnorm(ctx, h, rstd, x, head.norm, head.rms_eps);
  quant::frozen_matmul(ctx, logits, h, head.matrix, {});
}

double head_loss(Context& ctx, const HeadLoss& out, Tensor x, std::span<const int32_t> targets,
                 const Head& head) {
  const Supervised supervised = ctx.measuring() ? Supervised() : supervised_of(targets);
  if (out.d) fill_zero(ctx, out.d);
  const int64_t vocab = head.matrix.spec().rows, hidden = x.cols();
  const auto total = int64_t(ctx.measuring() ? targets.size() : supervised.rows.size());
  const int64_t chunk = std::min(total, chunk_rows(vocab, x.dtype()));
  ArenaScope scope(ctx.scratch());
  const auto activation = [&](int64_t columns) {
    return ctx.scratch().tensor(x.dtype(), {chunk, columns});
  };
  Tensor hidden_rows = activation(hidden), normed = activation(hidden);
  Tensor d_normed = activation(hidden), logits = activation(vocab);
  Tensor rstd = ctx.scratch().f32({chunk});
  Tensor losses = ctx.scratch().f32({total});
  // All chunks but the last take the same: measuring goes from the first one to the last.
  const auto after = [&](int64_t begin) {
    return ctx.measuring() ? std::max(begin + chunk, (total - 1) / chunk * chunk) : begin + chunk;
  };
  for (int64_t begin = 0; begin < total; begin = after(begin)) {
    const int64_t n = std::min(chunk, total - begin);
    const std::span<const int32_t> index(supervised.rows.data() + begin, size_t(n));
    Tensor xs = hidden_rows.slice(0, n), hs = normed.slice(0, n), ls = logits.slice(0, n);
    Tensor rs = rstd.slice(0, n), loss = losses.slice(begin, begin + n);
    gather_rows(ctx, xs, x, index);
    rmsnorm(ctx, hs, rs, xs, head.norm, head.rms_eps);
    quant::frozen_matmul(ctx, ls, hs, head.matrix, {});
    cross_entropy(ctx, loss, ls, {supervised.targets.data() + begin, size_t(n)}, out.scale);
    if (!out.d) continue;
    Tensor dh = d_normed.slice(0, n);
    quant::frozen_matmul_backward(ctx, dh, ls, head.matrix, {}, false);
    fill_zero(ctx, hs);
    rmsnorm_backward(ctx, hs, dh, xs, head.norm, rs);
    scatter_rows(ctx, out.d, hs, index);
  }
  const std::vector<float> all = to_host(ctx, losses);
  if (out.losses) out.losses->insert(out.losses->end(), all.begin(), all.end());
  return std::accumulate(all.begin(), all.end(), 0.0);
}

}  // namespace tessera::lora
