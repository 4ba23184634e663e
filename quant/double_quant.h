// Double quantization: the scales of a 4-bit tensor, less their mean, as 8-bit codes of the signed
// dynamic map in blocks of 256 with one float each. Bit-equal to bitsandbytes on the CPU with torch
// on one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace tessera::quant {

inline constexpr int64_t kNestedBlock = 256;

/// The mean in float32, in the order in which torch.mean sums on one CPU thread: 8 lanes, 4 rows of
/// them at once, and 4 levels of partial sums.
float mean_as_torch(std::span<const float> x);

/// Writes one code per scale and one float per 256 of them; returns the offset (the mean).
/// scale i decodes to kDynamicSigned[codes[i]] * nested[i / 256] + offset, with two roundings.
/// Throws Error naming `name` when the sum of the scales leaves float32.
float quantize_scales(std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name);

}  // namespace tessera::quant
