// A frozen matrix is dequantized whole into scratch and multiplied by cuBLASLt. At T tokens the
// product does 2 T operations a weight, and dequantizing moves 2.5 bytes of it: from T of a few
// hundred on, a GPU that does 300 operations in the time of a byte hides it.
#include "quant/frozen_matmul.h"
#include "runtime/cuda/gemm.h"

namespace tessera::quant::cuda {
namespace {

using tessera::cuda::gemm;

/// [N, K] in `dtype`: the blob itself where it holds that, else a copy in scratch.
Tensor dense(Context& ctx, const FrozenMatrix& w, DType dtype) {
  const FrozenSpec& spec = w.spec();
  if (spec.is_dense(dtype)) {
    return Tensor(const_cast<std::byte*>(w.blob()), dtype, {spec.rows, spec.cols}, ctx.device());
  }
  const Tensor copy = ctx.scratch().tensor(dtype, {spec.rows, spec.cols});
  w.dequantize(ctx, copy);
  return copy;
}

}  // namespace

void frozen_matmul(Context& ctx, Tensor y, Tensor x, const FrozenMatrix& w, LowRank update) {
  ArenaScope scope(ctx.scratch());
  gemm(ctx, {.c = y, .a = x, .b = dense(ctx, w, x.dtype()), .transpose_b = true});
  if (!update.left) return;
  const PartScope part(ctx.timeline(), ComputePart::kAdapters);
  gemm(ctx, {.c = y, .a = update.left, .b = update.right, .transpose_b = true, .accumulate = true});
}

void frozen_matmul_backward(Context& ctx, Tensor dx, Tensor dy, const FrozenMatrix& w,
                            LowRank update, bool accumulate) {
  ArenaScope scope(ctx.scratch());
  gemm(ctx, {.c = dx, .a = dy, .b = dense(ctx, w, dy.dtype()), .accumulate = accumulate});
  if (!update.left) return;
  const PartScope part(ctx.timeline(), ComputePart::kAdapters);
  gemm(ctx, {.c = dx, .a = update.left, .b = update.right, .accumulate = true});
}

}  // namespace tessera::quant::cuda
