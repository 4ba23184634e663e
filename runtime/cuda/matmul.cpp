#include "runtime/ops/matmul.h"

#include "runtime/cuda/gemm.h"

namespace tessera::cuda {

void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options) {
  gemm(ctx, {c, a, b, options.transpose_a, options.transpose_b, options.accumulate});
}

}  // namespace tessera::cuda
