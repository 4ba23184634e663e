// SIMD encoder of whole 4-bit blocks; quantize4 in quant/blockwise4.h is what callers use.
#pragma once

#include <cstdint>

#include "quant/codebook.h"

namespace tessera::quant {

/// Encodes `blocks` whole blocks of `block` floats (a multiple of 16). Returns the index of the
/// first element that is not finite, or -1; the outputs are unspecified in the first case.
int64_t encode_blocks(const Codebook4& book, int block, int64_t blocks, const float* x,
                      uint8_t* codes, float* scales);

}  // namespace tessera::quant
