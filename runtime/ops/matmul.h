// The dense matrix product of small trained matrices (LoRA's A and B, and their gradients), summed
// in float32. Products with a frozen weight are in quant/frozen_matmul.h.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

struct MatmulOptions {
  bool transpose_a = false;  // a is stored [K, M]
  bool transpose_b = false;  // b is stored [N, K]
  bool accumulate = false;   // c += instead of c =
};

/// What a product on a GPU takes of scratch. NVIDIA's advice for Hopper and later, given to every
/// GPU: older ones would do with less, but so a plan need not know which GPU it is for.
inline constexpr size_t kMatmulWorkspace = size_t{32} << 20;

/// Whether a device multiplies with bfloat16 operands: every GPU, and CPUs with AVX512_BF16.
bool has_bf16_products(Device device);

/// c[M,N] (+)= a[M,K] * b[K,N]. a and b of the activation dtype, c of it or float32. Sums as
/// cpu::gemm or cuda::gemm does.
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);

namespace cpu {
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);
}
namespace cuda {
void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options);
}

}  // namespace tessera
