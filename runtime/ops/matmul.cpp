#include "runtime/ops/matmul.h"

#include "runtime/core/has_cuda.h"
#include "runtime/cpu/gemm_bf16.h"

namespace tessera {

bool has_bf16_products(Device device) { return device.is_cuda() || cpu::has_gemm_bf16(); }

void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options) {
  for (const Tensor& t : {c, a, b}) TESSERA_CHECK(t.device() == ctx.device());
  TESSERA_CHECK(a.dtype() == ctx.activation_dtype() && b.dtype() == a.dtype());
  TESSERA_CHECK(c.dtype() == a.dtype() || c.dtype() == DType::kF32);
  const int64_t depth = options.transpose_a ? a.rows() : a.cols();
  TESSERA_CHECK(c.rows() == (options.transpose_a ? a.cols() : a.rows()));
  TESSERA_CHECK(c.cols() == (options.transpose_b ? b.rows() : b.cols()));
  TESSERA_CHECK(depth == (options.transpose_b ? b.cols() : b.rows()));
  if (ctx.device().is_cuda()) {
    ArenaScope scope(ctx.scratch());
    if (ctx.measuring()) return void(ctx.scratch().allocate(kMatmulWorkspace));
    if constexpr (kHasCuda) return cuda::matmul(ctx, c, a, b, options);
  }
  cpu::matmul(ctx, c, a, b, options);
}

}  // namespace tessera
