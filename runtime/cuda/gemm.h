// The dense matrix product of a GPU, by cuBLASLt, on the context's compute stream. Sums are float32
// and their order is a function of the product's types and shape alone (and of the GPU's kind and
// cuBLASLt's version): never of timing, of free memory, or of where in an arena the tensors lie.
#pragma once

#include <cstddef>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::cuda {

/// c[M,N] (+)= a[M,K] * b[K,N], row-major. a and b of one float type, c of that type or float32;
/// no two overlap. Float32 operands are multiplied in full precision (no TF32). Where rows are not
/// a multiple of 16 bytes cuBLASLt is slow; where it has no algorithm, Error with the shape.
struct GemmArgs {
  Tensor c, a, b;
  bool transpose_a = false;  // a is stored [K, M]
  bool transpose_b = false;  // b is stored [N, K]
  bool accumulate = false;   // c += instead of c =
  // 0: the algorithm that cuBLASLt puts first; n: the one n places behind it, for measurements.
  int choice = 0;
};

void gemm(Context& ctx, const GemmArgs& args);

}  // namespace tessera::cuda
