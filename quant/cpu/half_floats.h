// 16-bit floats in bulk. Narrowing rounds to nearest, ties to even; widening is exact.
#pragma once

#include <cstdint>

#include "runtime/core/dtype.h"

namespace tessera::quant {

/// from[count] in `type` (bf16 or f16) to float32.
void widen(DType type, const void* from, int64_t count, float* to);

/// from[count] in float32 to `type` (bf16 or f16). float16 overflows to infinity.
void narrow(DType type, const float* from, int64_t count, void* to);

}  // namespace tessera::quant
