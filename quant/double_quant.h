// Double quantization: the scales of a 4-bit tensor, less their mean, as 8-bit codes of the signed
// dynamic map in blocks of 256 with one float each. Bit-equal to bitsandbytes on the CPU with torch
// on one thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/core/context.h"

namespace tessera::quant {

inline constexpr int64_t kNestedBlock = 256;

/// The mean in float32, in the order in which torch.mean sums on one CPU thread: 8 lanes, 4 rows of
/// them at once, and 4 levels of partial sums.
float mean_as_torch(std::span<const float> x);

/// How torch adds up n >= 8 floats. Groups of 32 are summed elementwise on four levels: level 0
/// adds 2^group_sum_power(groups) groups from zero, level 1 as many sums of level 0, level 2
/// likewise, and level 3 all of level 2. What is left on each level, the last sum of it not being
/// complete, joins level by level.
inline constexpr int64_t kSumLanes = 32;
inline constexpr int kSumLevels = 4;
using SumLevels = std::array<std::array<float, kSumLanes>, kSumLevels>;
int group_sum_power(int64_t groups);
/// The mean of n >= 8 floats whose n / 32 groups left these sums; `tail` are the other n % 32.
float mean_of_levels(SumLevels levels, std::span<const float> tail, int64_t n);

/// Writes one code per scale and one float per 256 of them; returns the offset (the mean).
/// scale i decodes to kDynamicSigned[codes[i]] * nested[i / 256] + offset, with two roundings.
/// Throws Error naming `name` when the sum of the scales leaves float32.
float quantize_scales(std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name);

/// Throws the Error for scales whose mean is not finite.
void check_offset(float offset, std::string_view name);

namespace cuda {
/// The same with scales, codes and nested in memory of the context's device. Waits for the mean.
float quantize_scales(Context& ctx, std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name);
/// Of floats on the device. Waits.
float mean_as_torch(Context& ctx, std::span<const float> x);
}  // namespace cuda

}  // namespace tessera::quant
