// NF4 and FP4: codes of 4 bits with a scale per block (quant/blockwise4.h), whose scales may be
// quantized again (quant/double_quant.h). The blob, every part at a multiple of 256 bytes:
//   codes [ceil(N*K / 2)] u8 | scales [blocks] u8, or f32 without double quantization |
//   with double quantization: nested scales [ceil(blocks / 256)] f32, then the offset, one f32.
#pragma once

#include "quant/codebook.h"
#include "quant/format.h"

namespace tessera::quant {

/// Where the parts of a blob are.
struct Layout4 {
  explicit Layout4(const FrozenSpec& spec);

  int64_t blocks;        // scales
  int64_t nested;        // scales of the scales; 0 without double quantization
  size_t scales_offset;  // in bytes, from the beginning of the blob
  size_t nested_offset;
  size_t bytes;  // of the blob
};

extern const Format kNf4Format, kFp4Format;

const Codebook4& codebook_of(const Format* format);

}  // namespace tessera::quant
