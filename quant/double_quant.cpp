#include "quant/double_quant.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "quant/codebook.h"
#include "runtime/core/error.h"

namespace tessera::quant {

namespace {

constexpr int64_t kVector = 8;  // torch's sum is built for AVX2 only, so this holds on AVX-512 too
constexpr int64_t kRows = 4;
static_assert(kRows * kVector == kSumLanes);
using Sum = std::array<float, kSumLanes>;

void add(Sum& to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[size_t(i)] += from[i];
}

/// Sums `groups` consecutive groups of `width` floats elementwise; a partial sum moves up a level
/// after every 2^power additions, so that rounding errors grow slowly.
SumLevels cascade(const float* x, int64_t width, int64_t groups) {
  const int power = group_sum_power(groups);
  const int64_t step = int64_t{1} << power;
  SumLevels level{};
  int64_t i = 0;
  while (i + step <= groups) {
    for (int64_t j = 0; j < step; ++j, ++i) add(level[0], x + i * width, width);
    for (int l = 1; l < kSumLevels; ++l) {
      add(level[size_t(l)], level[size_t(l - 1)].data(), width);
      level[size_t(l - 1)].fill(0);
      if ((i & ((step - 1) << (l * power))) != 0) break;
    }
  }
  for (; i < groups; ++i) add(level[0], x + i * width, width);
  return level;
}

/// The mean of n floats, those in vectors of `width` and fewer in `tail`.
float mean_of(SumLevels& levels, std::span<const float> tail, int64_t width, int64_t n) {
  Sum& sum = levels[0];
  for (size_t l = 1; l < kSumLevels; ++l) add(sum, levels[l].data(), width * kRows);
  size_t i = 0;
  for (; i + size_t(width) <= tail.size(); i += size_t(width)) add(sum, tail.data() + i, width);
  for (int64_t r = 1; r < kRows; ++r) add(sum, sum.data() + r * width, width);
  float total = 0;
  for (; i < tail.size(); ++i) total += tail[i];
  for (int64_t lane = 0; lane < width; ++lane) total += sum[size_t(lane)];
  return total / float(n);
}

/// Entries of the signed dynamic map for 65,536 points of [-1, 1]: the number of midpoints between
/// entries that lie below the point.
std::array<uint8_t, 65536> make_entries() {
  std::array<uint8_t, 65536> entries{};
  size_t entry = 0;
  for (size_t point = 0; point < entries.size(); ++point) {
    const float x = -1.0f + 2.0f * float(point) / 65535.0f;
    while (entry < 255 && (kDynamicSigned[entry] + kDynamicSigned[entry + 1]) / 2 < x) ++entry;
    entries[point] = uint8_t(entry);
  }
  return entries;
}

/// The code of a value scaled into [-1, 1], found as bitsandbytes' CPU code does: through the
/// nearest of the 65,536 points. (0 thus encodes to 2.1e-5, the entry of the point next to it.)
uint8_t dynamic_code(float x) {
  static const std::array<uint8_t, 65536> entries = make_entries();
  if (std::isnan(x)) return 0;  // 0 * inf, where a reciprocal of a tiny scale overflowed
  return entries[size_t((std::clamp(x, -1.0f, 1.0f) + 1.0f) * 0.5f * 65535.0f + 0.5f)];
}

}  // namespace

int group_sum_power(int64_t groups) {
  const int log2_groups = groups <= 1 ? 0 : std::bit_width(uint64_t(groups - 1));
  return std::max(4, log2_groups / kSumLevels);
}

float mean_of_levels(SumLevels levels, std::span<const float> tail, int64_t n) {
  TESSERA_CHECK(n >= kVector && int64_t(tail.size()) == n % kSumLanes);
  return mean_of(levels, tail, kVector, n);
}

float mean_as_torch(std::span<const float> x) {
  const int64_t n = int64_t(x.size());
  const int64_t width = n < kVector ? 1 : kVector;
  const int64_t groups = n / (width * kRows);
  SumLevels levels = cascade(x.data(), width * kRows, groups);
  return mean_of(levels, x.subspan(size_t(groups * width * kRows)), width, n);
}

void check_offset(float offset, std::string_view name) {
  if (std::isfinite(offset)) return;
  fail(
      "tensor {}: its weights are too large for double quantization (the scales sum to {}); set "
      "bnb_4bit_use_double_quant: false",
      name, offset);
}

float quantize_scales(std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name) {
  const int64_t n = int64_t(scales.size());
  TESSERA_CHECK(int64_t(codes.size()) == n);
  TESSERA_CHECK(int64_t(nested.size()) == (n + kNestedBlock - 1) / kNestedBlock);
  const float offset = mean_as_torch(scales);
  check_offset(offset, name);
  for (int64_t first = 0; first < n; first += kNestedBlock) {
    const int64_t last = std::min(n, first + kNestedBlock);
    float largest = 0;
    for (int64_t i = first; i < last; ++i) {
      largest = std::max(largest, std::fabs(scales[size_t(i)] - offset));
    }
    nested[size_t(first / kNestedBlock)] = largest;
    const float factor = 1.0f / largest;
    for (int64_t i = first; i < last; ++i) {
      codes[size_t(i)] =
          largest == 0 ? uint8_t(0) : dynamic_code((scales[size_t(i)] - offset) * factor);
    }
  }
  return offset;
}

}  // namespace tessera::quant
