#include "lora/decoder/block.h"

#include <cmath>
#include <span>

#include "runtime/ops/activation.h"
#include "runtime/ops/add.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/columns.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/rope.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/scale.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

/// Linears of one input, whose outputs are `parts`; or one linear of all parts side by side.
struct Projection {
  std::span<const Site> sites;
  Site fused;
};
constexpr Site kQkvSites[] = {Site::kQ, Site::kK, Site::kV};
constexpr Projection kQkv{kQkvSites, Site::kQkv};
constexpr Site kGateUpSites[] = {Site::kGate, Site::kUp};
constexpr Projection kGateUp{kGateUpSites, Site::kGateUp};

/// The parts that a block's two halves are made of: forward and backward of each.
class Parts {
 public:
  Parts(Context& ctx, BlockSaved& saved, const Block& block, const BlockInput& input)
      : ctx_(ctx), saved_(saved), block_(block), input_(input) {}

  bool has(NormSite site) const { return bool(block_.at(site)); }
  /// [N, columns] like the block's input, from scratch.
  Tensor scratch(int64_t columns) {
    return ctx_.scratch().tensor(saved_.x.dtype(), {saved_.x.rows(), columns});
  }

  // Before a half: h = norm(x), or x itself.
  Tensor normed(NormSite site, Tensor x) {
    if (!has(site)) return x;
    const Tensor h = scratch(x.cols());
    rmsnorm(ctx_, h, saved_.at(site).rstd, x, norm(site));
    return h;
  }
  /// Where a half's gradient by h goes, when that by its input is d.
  Linear::InputGrad grad_of_normed(NormSite site, Tensor d) {
    if (!has(site)) return {d, true};
    return {scratch(d.cols()), false};
  }
  /// d += the gradient through the norm.
  void normed_backward(NormSite site, Tensor d, Tensor dh, Tensor x) {
    if (has(site)) rmsnorm_backward(ctx_, d, dh, x, norm(site), saved_.at(site).rstd);
  }

  // Behind a half: out = x + residual scale * norm(f), with or without the norm.
  /// An empty `out` is not needed.
  void add_branch(NormSite after, Tensor out, Tensor x) {
    ArenaScope scope(ctx_.scratch());
    if (has(after)) normalize(after, out ? out : scratch(x.cols()));
    if (!out) return;
    if (scales_residual()) scale(ctx_, out, residual_scale());
    add(ctx_, out, x);
  }
  /// The gradient of f by that of out.
  Tensor branch_gradient(NormSite after, Tensor d) {
    Tensor branch = d;
    if (scales_residual()) {
      branch = scratch(d.cols());
      copy(ctx_, branch, d);
      scale(ctx_, branch, residual_scale());
    }
    return normalize_backward(after, branch);
  }

  void forward(Site site, Tensor out, Tensor in) {
    block_.at(site).forward(ctx_, out, saved_.u[size_t(site)], in);
  }
  void backward(Site site, Linear::InputGrad grad, Tensor dy, Tensor x) {
    block_.at(site).backward(ctx_, grad, dy, x, saved_.u[size_t(site)]);
  }
  void project(const Projection& projection, bool fused, std::span<const Tensor> out, Tensor in) {
    if (fused) {
      ArenaScope scope(ctx_.scratch());
      const Tensor whole = scratch(columns_of(out));
      forward(projection.fused, whole, in);
      return split_columns(ctx_, out, whole);
    }
    for (size_t i = 0; i < out.size(); ++i) forward(projection.sites[i], out[i], in);
  }
  void project_backward(const Projection& projection, bool fused, Linear::InputGrad grad,
                        std::span<const Tensor> dy, Tensor x) {
    if (fused) {
      ArenaScope scope(ctx_.scratch());
      const Tensor whole = scratch(columns_of(dy));
      join_columns(ctx_, whole, dy);
      return backward(projection.fused, grad, whole, x);
    }
    for (size_t i = 0; i < dy.size(); ++i) {
      backward(projection.sites[i], grad, dy[i], x);
      grad.accumulate = true;
    }
  }

  // Norms of what linears make, over whole rows or over heads: their inputs are kept.
  /// Where the linear writes, when its output or that of the norm is to lie in `out`.
  Tensor place_of_raw(NormSite site, Tensor out) { return has(site) ? saved_.at(site).x : out; }
  void normalize(NormSite site, Tensor out) {
    if (!has(site)) return;
    const SavedNorm& saved = saved_.at(site);
    rmsnorm(ctx_, by_norm(site, out), saved.rstd, by_norm(site, saved.x), norm(site));
  }
  /// The gradient by what the linear made.
  Tensor normalize_backward(NormSite site, Tensor d) {
    if (!has(site)) return d;
    const SavedNorm& saved = saved_.at(site);
    const Tensor raw = scratch(d.cols());
    fill_zero(ctx_, raw);
    rmsnorm_backward(ctx_, by_norm(site, raw), by_norm(site, d), by_norm(site, saved.x), norm(site),
                     saved.rstd);
    return raw;
  }

  /// Turns queries and keys, or their gradients, by their positions.
  template <class Turn>
  void turn(Turn turn, Tensor q, Tensor k) {
    const AttentionSpec& attention = block_.spec.attention;
    if (attention.rope == AttentionSpec::kNoRope) return;
    const RopeRows& rule = input_.ropes[size_t(attention.rope)];
    turn(ctx_, q, rule.of_queries(attention.head_dim));
    turn(ctx_, k, rule.of_keys(attention.head_dim));
  }

 private:
  RmsNorm norm(NormSite site) const {
    return {block_.at(site), input_.model.rms_eps, input_.model.norm_plus};
  }
  float residual_scale() const { return float(block_.spec.residual_scale); }
  bool scales_residual() const { return residual_scale() != 1.0f; }
  /// x as rows of the norm's width.
  Tensor by_norm(NormSite site, Tensor x) const {
    const int64_t width = block_.at(site).numel();
    return x.view({x.numel() / width, width});
  }
  static int64_t columns_of(std::span<const Tensor> parts) {
    int64_t columns = 0;
    for (const Tensor& part : parts) columns += part.cols();
    return columns;
  }

  Context& ctx_;
  BlockSaved& saved_;
  const Block& block_;
  const BlockInput& input_;
};

GluInput glu_input(const Block& block, const BlockSaved& s) {
  return {s.gate, s.up, block.spec.mlp.activation};
}

}  // namespace

AttentionShape attention_shape(const AttentionSpec& a) {
  const float usual = 1.0f / std::sqrt(float(a.head_dim));
  return {.heads = a.heads,
          .kv_heads = a.kv_heads,
          .head_dim = a.head_dim,
          .scale = a.score_scale > 0 ? float(a.score_scale) : usual,
          .window = a.window,
          .softcap = float(a.softcap)};
}

BlockSaved allocate_saved(Arena& arena, const Block& block, Tensor x) {
  const AttentionSpec& a = block.spec.attention;
  const int64_t n = x.rows(), f = block.spec.mlp.width;
  const auto activation = [&](int64_t columns) { return arena.tensor(x.dtype(), {n, columns}); };
  BlockSaved s;
  const auto norm = [&](NormSite site, int64_t columns, bool keeps_input) {
    const Tensor& weight = block.at(site);
    if (!weight) return;
    if (keeps_input) s.at(site).x = activation(columns);
    s.at(site).rstd = arena.f32({n * columns / weight.numel()});
  };
  s.x = x;
  norm(NormSite::kBeforeAttention, x.cols(), false);
  norm(NormSite::kQ, a.q_size(), true);
  norm(NormSite::kK, a.kv_size(), true);
  s.q = activation(a.q_size());
  s.k = activation(a.kv_size());
  s.v = activation(a.kv_size());
  s.attended = activation(a.q_size());
  s.lse = arena.f32({a.heads, n});
  norm(NormSite::kAfterAttention, x.cols(), true);
  s.mid = activation(x.cols());
  norm(NormSite::kBeforeMlp, x.cols(), false);
  s.gate = activation(f);
  s.up = activation(f);
  norm(NormSite::kAfterMlp, x.cols(), true);
  for (size_t site = 0; site < kSiteCount; ++site)
    s.u[site] = activation(block.linear[site].rank());
  return s;
}

void attend_within_samples(Context& ctx, BlockSaved& s, const Block& block,
                           const BlockInput& input) {
  attention(ctx, s.attended, s.lse,
            {s.q, s.k, s.v, input.samples, attention_shape(block.spec.attention)});
}

void block_forward(Context& ctx, Tensor y, BlockSaved& s, const Block& block,
                   const BlockInput& input, Attend attend) {
  const LayerSpec& spec = block.spec;
  Parts parts(ctx, s, block, input);
  ArenaScope scope(ctx.scratch());
  {
    ArenaScope half(ctx.scratch());
    const Tensor h = parts.normed(NormSite::kBeforeAttention, s.x);
    const Tensor q = parts.place_of_raw(NormSite::kQ, s.q);
    const Tensor k = parts.place_of_raw(NormSite::kK, s.k);
    parts.project(kQkv, spec.attention.fused, std::array{q, k, s.v}, h);
    parts.normalize(NormSite::kQ, s.q);
    parts.normalize(NormSite::kK, s.k);
    parts.turn(rope, s.q, s.k);
    attend(s);
    parts.forward(Site::kO, parts.place_of_raw(NormSite::kAfterAttention, s.mid), s.attended);
    parts.add_branch(NormSite::kAfterAttention, s.mid, s.x);
  }
  const Tensor h = parts.normed(NormSite::kBeforeMlp, s.mid);
  parts.project(kGateUp, spec.mlp.fused, std::array{s.gate, s.up}, h);
  const Tensor activated = parts.scratch(spec.mlp.width);
  glu(ctx, activated, glu_input(block, s));
  parts.forward(Site::kDown, parts.place_of_raw(NormSite::kAfterMlp, y), activated);
  parts.add_branch(NormSite::kAfterMlp, y, s.mid);
}

namespace {

/// d becomes the gradient of s.mid.
void mlp_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                  const BlockInput& input) {
  const MlpSpec& spec = block.spec.mlp;
  Parts parts(ctx, s, block, input);
  ArenaScope scope(ctx.scratch());
  const Tensor d_branch = parts.branch_gradient(NormSite::kAfterMlp, d);
  const Tensor d_activated = parts.scratch(spec.width);
  {
    ArenaScope inner(ctx.scratch());
    const Tensor activated = parts.scratch(spec.width);
    glu(ctx, activated, glu_input(block, s));
    parts.backward(Site::kDown, {d_activated, false}, d_branch, activated);
  }
  glu_backward(ctx, s.gate, s.up, d_activated, glu_input(block, s));  // in place
  const Tensor h = parts.normed(NormSite::kBeforeMlp, s.mid);
  const Linear::InputGrad dh = parts.grad_of_normed(NormSite::kBeforeMlp, d);
  parts.project_backward(kGateUp, spec.fused, dh, std::array{s.gate, s.up}, h);
  parts.normed_backward(NormSite::kBeforeMlp, d, dh.dx, s.mid);
}

/// d becomes the gradient of s.x.
void attention_part_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                             const BlockInput& input, bool need_dx) {
  const AttentionSpec& spec = block.spec.attention;
  Parts parts(ctx, s, block, input);
  ArenaScope scope(ctx.scratch());
  const Tensor dq = parts.scratch(spec.q_size());
  const Tensor dk = parts.scratch(spec.kv_size());
  const Tensor dv = parts.scratch(spec.kv_size());
  {
    ArenaScope inner(ctx.scratch());
    const Tensor d_branch = parts.branch_gradient(NormSite::kAfterAttention, d);
    const Tensor d_attended = parts.scratch(spec.q_size());
    parts.backward(Site::kO, {d_attended, false}, d_branch, s.attended);
    attention_backward(ctx, {dq, dk, dv}, d_attended, s.attended, s.lse,
                       {s.q, s.k, s.v, input.samples, attention_shape(spec)});
  }
  parts.turn(rope_backward, dq, dk);
  const Tensor dq_raw = parts.normalize_backward(NormSite::kQ, dq);
  const Tensor dk_raw = parts.normalize_backward(NormSite::kK, dk);
  const Tensor h = parts.normed(NormSite::kBeforeAttention, s.x);
  const Linear::InputGrad dh = need_dx ? parts.grad_of_normed(NormSite::kBeforeAttention, d)
                                       : Linear::InputGrad{Tensor(), false};
  parts.project_backward(kQkv, spec.fused, dh, std::array{dq_raw, dk_raw, dv}, h);
  if (need_dx) parts.normed_backward(NormSite::kBeforeAttention, d, dh.dx, s.x);
}

}  // namespace

void block_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                    const BlockInput& input, bool need_dx) {
  mlp_backward(ctx, d, s, block, input);
  attention_part_backward(ctx, d, s, block, input, need_dx);
}

}  // namespace tessera::lora
