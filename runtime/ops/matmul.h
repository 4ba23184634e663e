// The dense float32 matrix product of small trained matrices (LoRA's A and B, and their gradients).
// Products with a frozen weight are in quant/frozen_matmul.h.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

struct MatmulOptions {
  bool transpose_a = false;  // a is stored [K, M]
  bool transpose_b = false;  // b is stored [N, K]
  bool accumulate = false;   // c += instead of c =
};

/// c[M,N] (+)= a[M,K] * b[K,N]. Sums as cpu::gemm does.
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);

namespace cpu {
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);
}
namespace cuda {
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);
}

}  // namespace tessera
