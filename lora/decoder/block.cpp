#include "lora/decoder/block.h"

#include <cmath>

#include "runtime/core/error.h"
#include "runtime/ops/activation.h"
#include "runtime/ops/add.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/rope.h"

namespace tessera::lora {

void check_computable(const ModelSpec& model) {
  for (const LayerSpec& layer : model.layers) {
    const AttentionSpec& attention = layer.attention;
    bool computable = !attention.qkv_bias && !attention.o_bias && !layer.mlp.bias &&
                      attention.qk_norm == QkNorm::kNone && layer.norms.size() == 2;
    for (const NormName& norm : layer.norms) {
      computable = computable &&
                   (norm.site == NormSite::kBeforeAttention || norm.site == NormSite::kBeforeMlp);
    }
    if (!computable) {
      fail(
          "{}: this version computes no layers with biases, norms of queries and keys, or norms "
          "behind attention or MLP",
          model.architecture);
    }
    // The tables of rotary positions are those of one size.
    if (attention.head_dim != model.layers.front().attention.head_dim) {
      fail("{}: this version computes no layers whose heads differ in size", model.architecture);
    }
  }
}

AttentionShape attention_shape(const AttentionSpec& a) {
  return {a.heads, a.kv_heads, a.head_dim, 1.0f / std::sqrt(float(a.head_dim))};
}

BlockSaved allocate_saved(Arena& arena, const Block& block, Tensor x) {
  const AttentionSpec& a = block.spec.attention;
  const int64_t n = x.rows(), f = block.spec.mlp.width;
  const auto activation = [&](int64_t columns) { return arena.tensor(x.dtype(), {n, columns}); };
  BlockSaved s;
  s.x = x;
  s.attention_rstd = arena.f32({n});
  s.q = activation(a.q_size());
  s.k = activation(a.kv_size());
  s.v = activation(a.kv_size());
  s.attended = activation(a.q_size());
  s.lse = arena.f32({a.heads, n});
  s.mid = activation(x.cols());
  s.mlp_rstd = arena.f32({n});
  s.gate = activation(f);
  s.up = activation(f);
  for (size_t site = 0; site < kSiteCount; ++site)
    s.u[site] = activation(block.linear[site].rank());
  return s;
}

void attend_within_samples(Context& ctx, BlockSaved& s, const Block& block,
                           const BlockInput& input) {
  attention(ctx, s.attended, s.lse,
            {s.q, s.k, s.v, input.samples, attention_shape(block.spec.attention)});
}

namespace {

/// [N, columns] like x, from scratch.
Tensor scratch_like(Context& ctx, Tensor x, int64_t columns) {
  return ctx.scratch().tensor(x.dtype(), {x.rows(), columns});
}

}  // namespace

void block_forward(Context& ctx, Tensor y, BlockSaved& s, const Block& block,
                   const BlockInput& input, Attend attend) {
  const int64_t hidden = s.x.cols();
  const float eps = input.model.rms_eps;
  const auto forward = [&](Site site, Tensor out, Tensor in) {
    block.at(site).forward(ctx, out, s.u[size_t(site)], in);
  };
  ArenaScope scope(ctx.scratch());
  Tensor h = scratch_like(ctx, s.x, hidden);
  rmsnorm(ctx, h, s.attention_rstd, s.x, block.at(NormSite::kBeforeAttention), eps);
  forward(Site::kQ, s.q, h);
  forward(Site::kK, s.k, h);
  forward(Site::kV, s.v, h);
  rope(ctx, s.q, input.positions, input.cos, input.sin);
  rope(ctx, s.k, input.positions, input.cos, input.sin);
  attend(s);
  forward(Site::kO, s.mid, s.attended);
  add(ctx, s.mid, s.x);

  rmsnorm(ctx, h, s.mlp_rstd, s.mid, block.at(NormSite::kBeforeMlp), eps);
  forward(Site::kGate, s.gate, h);
  forward(Site::kUp, s.up, h);
  Tensor activated = scratch_like(ctx, s.x, block.spec.mlp.width);
  swiglu(ctx, activated, s.gate, s.up);
  forward(Site::kDown, y, activated);
  if (y) add(ctx, y, s.mid);
}

namespace {

/// d becomes the gradient of s.mid.
void mlp_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                  const BlockInput& input) {
  const int64_t hidden = d.cols(), f = block.spec.mlp.width;
  const float eps = input.model.rms_eps;
  ArenaScope scope(ctx.scratch());
  const auto backward = [&](Site site, Linear::InputGrad grad, Tensor dy, Tensor x) {
    block.at(site).backward(ctx, grad, dy, x, s.u[size_t(site)]);
  };
  Tensor d_activated = scratch_like(ctx, d, f);
  {
    ArenaScope inner(ctx.scratch());
    Tensor activated = scratch_like(ctx, d, f);
    swiglu(ctx, activated, s.gate, s.up);
    backward(Site::kDown, {d_activated, false}, d, activated);
  }
  swiglu_backward(ctx, s.gate, s.up, d_activated, s.gate, s.up);  // in place
  Tensor h = scratch_like(ctx, d, hidden);
  Tensor dh = scratch_like(ctx, d, hidden);
  rmsnorm(ctx, h, s.mlp_rstd, s.mid, block.at(NormSite::kBeforeMlp), eps);
  backward(Site::kGate, {dh, false}, s.gate, h);
  backward(Site::kUp, {dh, true}, s.up, h);
  rmsnorm_backward(ctx, d, dh, s.mid, block.at(NormSite::kBeforeMlp), s.mlp_rstd);
}

/// d becomes the gradient of s.x.
void attention_part_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                             const BlockInput& input, bool need_dx) {
  const AttentionSpec& a = block.spec.attention;
  const int64_t hidden = d.cols();
  const float eps = input.model.rms_eps;
  ArenaScope scope(ctx.scratch());
  Tensor dq = scratch_like(ctx, d, a.q_size());
  Tensor dk = scratch_like(ctx, d, a.kv_size());
  Tensor dv = scratch_like(ctx, d, a.kv_size());
  const auto backward = [&](Site site, Linear::InputGrad grad, Tensor dy, Tensor x) {
    block.at(site).backward(ctx, grad, dy, x, s.u[size_t(site)]);
  };
  {
    ArenaScope inner(ctx.scratch());
    Tensor d_attended = scratch_like(ctx, d, a.q_size());
    backward(Site::kO, {d_attended, false}, d, s.attended);
    attention_backward(ctx, {dq, dk, dv}, d_attended, s.attended, s.lse,
                       {s.q, s.k, s.v, input.samples, attention_shape(a)});
  }
  rope_backward(ctx, dq, input.positions, input.cos, input.sin);
  rope_backward(ctx, dk, input.positions, input.cos, input.sin);
  Tensor h = scratch_like(ctx, d, hidden);
  Tensor dh = need_dx ? scratch_like(ctx, d, hidden) : Tensor();
  rmsnorm(ctx, h, s.attention_rstd, s.x, block.at(NormSite::kBeforeAttention), eps);
  backward(Site::kQ, {dh, false}, dq, h);
  backward(Site::kK, {dh, true}, dk, h);
  backward(Site::kV, {dh, true}, dv, h);
  if (need_dx)
    rmsnorm_backward(ctx, d, dh, s.x, block.at(NormSite::kBeforeAttention), s.attention_rstd);
}

}  // namespace

void block_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                    const BlockInput& input, bool need_dx) {
  mlp_backward(ctx, d, s, block, input);
  attention_part_backward(ctx, d, s, block, input, need_dx);
}

}  // namespace tessera::lora
