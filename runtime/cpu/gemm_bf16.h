// The CPU matrix product with operands rounded to bfloat16, for CPUs that have AVX512_BF16.
// Bits depend neither on the thread count nor on how rows and columns are cut, but they are those
// of the vdpbf16ps instruction: it takes products in pairs and subnormal numbers for zero.
#pragma once

#include <span>

#include "runtime/cpu/gemm.h"

namespace tessera::cpu {

/// Whether gemm_bf16 runs here: the CPU and the system have AVX512_BF16.
bool has_gemm_bf16();

/// C[M,N] (+)= sum over terms, as gemm; A and B of the first term are rounded to bfloat16 (to
/// nearest, ties to even) and its products added up in float32, kPanelDepth of them at a time. The
/// other terms, meant to be small, are float32 as in gemm. The first term's k_stride must be 1.
void gemm_bf16(Context& ctx, const GemmOutput& out, std::span<const GemmTerm> terms);

}  // namespace tessera::cpu
