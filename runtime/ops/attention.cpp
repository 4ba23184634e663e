#include "runtime/ops/attention.h"

#include <cmath>

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {
namespace {

constexpr int64_t kMaxHeadDim = 256;

void check_shape(const AttentionShape& shape) {
  if (shape.head_dim < 1 || shape.head_dim > kMaxHeadDim) {
    fail(
        "attention: head_dim {} is not supported, expected 1 to {}; check head_dim, hidden_size "
        "and num_attention_heads in the model's config",
        shape.head_dim, kMaxHeadDim);
  }
  if (shape.kv_heads < 1 || shape.heads < 1 || shape.heads % shape.kv_heads != 0) {
    fail(
        "attention: {} query heads cannot share {} key-value heads, expected a whole multiple; "
        "check num_attention_heads and num_key_value_heads in the model's config",
        shape.heads, shape.kv_heads);
  }
  TESSERA_CHECK(std::isfinite(shape.scale) && shape.scale > 0);
  TESSERA_CHECK(shape.window >= 0 && std::isfinite(shape.softcap) && shape.softcap >= 0);
}

bool is_matrix(const Tensor& t, int64_t rows, int64_t cols) {
  return t.dims() == 2 && t.dim(0) == rows && t.dim(1) == cols;
}

void check_input(const Context& ctx, const AttentionInput& in) {
  check_shape(in.shape);
  TESSERA_CHECK(all_activations(ctx, {in.q, in.k, in.v}));
  const int64_t tokens = in.q.rows();
  TESSERA_CHECK(is_matrix(in.q, tokens, in.shape.heads * in.shape.head_dim));
  TESSERA_CHECK(is_matrix(in.k, tokens, in.shape.kv_heads * in.shape.head_dim));
  TESSERA_CHECK(is_matrix(in.v, tokens, in.shape.kv_heads * in.shape.head_dim));
  TESSERA_CHECK(in.samples.tokens() == tokens);
}

}  // namespace

void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in) {
  const PartScope part(ctx.timeline(), ComputePart::kAttention);
  check_input(ctx, in);
  TESSERA_CHECK(all_activations(ctx, {out}) && all_f32(ctx, {lse}));
  TESSERA_CHECK(is_matrix(out, in.q.dim(0), in.q.dim(1)));
  TESSERA_CHECK(is_matrix(lse, in.shape.heads, in.q.dim(0)));
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::attention(ctx, out, lse, in);
  }
  cpu::attention(ctx, out, lse, in);
}

void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in) {
  const PartScope part(ctx.timeline(), ComputePart::kAttention);
  check_input(ctx, in);
  TESSERA_CHECK(all_activations(ctx, {grads.dq, grads.dk, grads.dv, dout, out}));
  TESSERA_CHECK(all_f32(ctx, {lse}));
  TESSERA_CHECK(is_matrix(grads.dq, in.q.dim(0), in.q.dim(1)));
  TESSERA_CHECK(is_matrix(grads.dk, in.k.dim(0), in.k.dim(1)));
  TESSERA_CHECK(is_matrix(grads.dv, in.v.dim(0), in.v.dim(1)));
  TESSERA_CHECK(is_matrix(dout, in.q.dim(0), in.q.dim(1)));
  TESSERA_CHECK(is_matrix(out, in.q.dim(0), in.q.dim(1)));
  TESSERA_CHECK(is_matrix(lse, in.shape.heads, in.q.dim(0)));
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::attention_backward(ctx, grads, dout, out, lse, in);
  }
  cpu::attention_backward(ctx, grads, dout, out, lse, in);
}

void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in) {
  const PartScope part(ctx.timeline(), ComputePart::kAttention);
  check_shape(in.shape);
  TESSERA_CHECK(all_activations(ctx, {out, in.q, in.k, in.v}));
  const int64_t cols = in.shape.heads * in.shape.head_dim;
  const int64_t kv_cols = in.shape.kv_heads * in.shape.head_dim;
  TESSERA_CHECK(is_matrix(in.q, in.q.rows(), cols) && is_matrix(out, in.q.rows(), cols));
  TESSERA_CHECK(is_matrix(in.k, in.k.rows(), kv_cols) && is_matrix(in.v, in.k.rows(), kv_cols));
  TESSERA_CHECK(in.first >= 0 && in.first + in.q.rows() <= in.k.rows());
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::attention_decode(ctx, out, in);
  }
  cpu::attention_decode(ctx, out, in);
}

}  // namespace tessera
