// 4-bit block-wise quantization of a flat run of floats: one code per element, one scale (the
// largest magnitude) per block. Blocks run over the flat tensor and may straddle rows; the last may
// be short. Byte j holds element 2j in its high nibble. Bit-equal to bitsandbytes on the CPU.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "quant/codebook.h"
#include "quant/format.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::quant {

/// Throws Error (usage) unless `block` is 32, 64, ..., 4096.
void check_block(int block);

struct Blocks4 {
  std::span<uint8_t> codes;  // ceil(n / 2)
  std::span<float> scales;   // ceil(n / block)
};

/// Writes codes and scales of x (any size). Throws Error naming `name` and the first bad index when
/// an element is not finite. The result does not depend on the Context's thread count.
void quantize4(Context& ctx, const Codebook4& book, int block, std::span<const float> x,
               const Blocks4& out, std::string_view name);
/// The CPU's kernel of quantize4: encodes `blocks` whole blocks of `block` floats (a multiple of
/// 16). Returns the index of the first element that is not finite, with the outputs unspecified, or
/// -1.
int64_t encode_blocks(const Codebook4& book, int block, int64_t blocks, const float* x,
                      uint8_t* codes, float* scales);

/// Scales of a tensor as they are stored: floats, or 8-bit codes of double quantization.
struct Scales {
  const float* plain = nullptr;    // null when double quantized
  const uint8_t* codes = nullptr;  // scale i = kDynamicSigned[codes[i]] * nested[i / 256] + *offset
  const float* nested = nullptr;
  const float* offset = nullptr;
};

/// A quantized tensor to decode: element e is values[code e] * scale[e / block], in float32.
struct Encoded4 {
  const Codebook4* book;
  const uint8_t* codes;  // 8 readable bytes follow the last
  int block;
  Scales scales;
};

/// Decodes run r to out[r * ldo ...]. Thread safe; writes nothing but the runs' elements.
void dequantize4(const Encoded4& in, const Runs& runs, float* out, int64_t ldo);

namespace cuda {
/// As quantize4 of finite elements: w (float32, bfloat16 or float16), codes and scales are memory
/// of the context's device.
void quantize4(Context& ctx, const Codebook4& book, int block, Tensor w, const Blocks4& out);
/// out = elements first, first + 1, ... of a tensor on the device, rounded once to out's dtype.
/// Fastest where `first` is a multiple of 8.
void dequantize4(Context& ctx, const Encoded4& in, int64_t first, Tensor out);
}  // namespace cuda

}  // namespace tessera::quant
