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
constexpr int kLevels = 4;
using Sum = std::array<float, kRows * kVector>;

void add(Sum& to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[size_t(i)] += from[i];
}

/// Sums `groups` consecutive groups of `width` floats elementwise; a partial sum moves up a level
/// after every 2^power additions, so that rounding errors grow slowly.
Sum cascade(const float* x, int64_t width, int64_t groups) {
  const int log2_groups = groups <= 1 ? 0 : std::bit_width(uint64_t(groups - 1));
  const int power = std::max(4, log2_groups / kLevels);
  const int64_t step = int64_t{1} << power;
  std::array<Sum, kLevels> level{};
  int64_t i = 0;
  while (i + step <= groups) {
    for (int64_t j = 0; j < step; ++j, ++i) add(level[0], x + i * width, width);
    for (int l = 1; l < kLevels; ++l) {
      add(level[size_t(l)], level[size_t(l - 1)].data(), width);
      level[size_t(l - 1)].fill(0);
      if ((i & ((step - 1) << (l * power))) != 0) break;
    }
  }
  for (; i < groups; ++i) add(level[0], x + i * width, width);
  for (size_t l = 1; l < kLevels; ++l) add(level[0], level[l].data(), width);
  return level[0];
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

float mean_as_torch(std::span<const float> x) {
  const int64_t n = int64_t(x.size());
  const int64_t width = n < kVector ? 1 : kVector;
  const int64_t vectors = n / width;
  const int64_t groups = vectors / kRows;
  Sum sum = cascade(x.data(), width * kRows, groups);
  for (int64_t v = groups * kRows; v < vectors; ++v) add(sum, x.data() + v * width, width);
  for (int64_t r = 1; r < kRows; ++r) add(sum, sum.data() + r * width, width);
  float total = 0;
  for (int64_t i = vectors * width; i < n; ++i) total += x[size_t(i)];
  for (int64_t lane = 0; lane < width; ++lane) total += sum[size_t(lane)];
  return total / float(n);
}

float quantize_scales(std::span<const float> scales, std::span<uint8_t> codes,
                      std::span<float> nested, std::string_view name) {
  const int64_t n = int64_t(scales.size());
  TESSERA_CHECK(int64_t(codes.size()) == n);
  TESSERA_CHECK(int64_t(nested.size()) == (n + kNestedBlock - 1) / kNestedBlock);
  const float offset = mean_as_torch(scales);
  if (!std::isfinite(offset)) {
    fail(
        "tensor {}: its weights are too large for double quantization (the scales sum to {}); set "
        "bnb_4bit_use_double_quant: false",
        name, offset);
  }
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
