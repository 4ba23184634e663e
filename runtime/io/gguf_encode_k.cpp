// K types: blocks of 256 values in groups, whose scales are themselves stored as small integers.
// The codes are found in two rounds. A search per group finds the scale (and minimum) with the
// least weighted squared error; then the scales are rounded to what the block stores, and the codes
// are taken again with those.
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "runtime/io/gguf_encode_block.h"

namespace tessera::io::gguf_block {
namespace {

constexpr size_t kBlock = 256;

template <size_t n>
using Values = std::span<const float, n>;

/// Adding 1.5 * 2^23 leaves no bits for a fraction, so that the sum's low bits are x rounded to
/// nearest, ties to even. Where |x| is over 2^22, or x is infinite or NaN, the result is a number
/// without meaning, but the same one as in ggml.
int nearest(float x) {
  constexpr uint32_t kMantissa = 0x007fffff, kZero = 0x00400000;
  return int(std::bit_cast<uint32_t>(x + 0x1.8p23f) & kMantissa) - int(kZero);
}

/// What a group's codes mean: scale * code + min, with min <= 0.
struct Line {
  float scale, min;
};

/// Which scales are tried for a group of Q4_K and Q5_K: those that spread the group's range over
/// largest + first, then 0.1 more each time, steps between codes.
struct Search {
  int largest;
  float first;
  int tries;
};
constexpr Search kSearch4{15, -1.0f, 21}, kSearch5{31, -0.5f, 16};

constexpr size_t kGroup = 32, kGroups = kBlock / kGroup;
using GroupCodes = std::array<uint8_t, kGroup>;

/// A group of Q4_K or Q5_K and what all tries share. Large values weigh more: |x| + their root mean
/// square.
class LineGroup {
 public:
  explicit LineGroup(Values<kGroup> x) : x_(x) {
    float squares = 0;
    for (const float value : x) squares += value * value;
    const float rms = std::sqrt(squares / kGroup);
    for (size_t i = 0; i < kGroup; ++i) weights_[i] = rms + std::abs(x[i]);
    weight_ = weights_[0];
    weighted_x_ = weights_[0] * x[0];
    for (size_t i = 1; i < kGroup; ++i) {
      weight_ += weights_[i];
      weighted_x_ += weights_[i] * x[i];
    }
  }

  /// The codes nearest to (x - min) * inverse_scale.
  GroupCodes codes(float inverse_scale, float min, int largest) const {
    GroupCodes codes;
    for (size_t i = 0; i < kGroup; ++i) {
      codes[i] = uint8_t(std::clamp(nearest(inverse_scale * (x_[i] - min)), 0, largest));
    }
    return codes;
  }

  /// The line with the least weighted squared error for given codes; none where all codes are
  /// equal. A minimum above zero cannot be stored: the line then goes through zero.
  std::optional<Line> fit(const GroupCodes& codes) const {
    float l = 0, ll = 0,
          lx = 0;  // weighted sums: of codes, of their squares, of codes times values
    for (size_t i = 0; i < kGroup; ++i) {
      const float code = codes[i];
      const float weighted = weights_[i] * code;
      l += weighted;
      ll += weighted * code;
      lx += weighted * x_[i];
    }
    const float determinant = weight_ * ll - l * l;
    if (!(determinant > 0)) return std::nullopt;
    const float min = (ll * weighted_x_ - l * lx) / determinant;
    if (min > 0) return Line{lx / ll, 0};
    return Line{(weight_ * lx - weighted_x_ * l) / determinant, min};
  }

  float error(const GroupCodes& codes, Line line) const {
    float sum = 0;
    for (size_t i = 0; i < kGroup; ++i) {
      const float difference = line.scale * float(codes[i]) + line.min - x_[i];
      sum += weights_[i] * (difference * difference);
    }
    return sum;
  }

  Values<kGroup> values() const { return x_; }

 private:
  Values<kGroup> x_;
  std::array<float, kGroup> weights_;
  float weight_, weighted_x_;  // sums: of the weights, of the weighted values
};

/// The best line of all tries, the first being the plain one from minimum to maximum; and its
/// codes. The tries after a better one start from its minimum. A group of one value that is
/// not positive needs no scale.
Line search_line(const LineGroup& group, const Search& search, std::span<uint8_t, kGroup> best) {
  const auto [lowest, highest] = std::ranges::minmax(group.values());
  const float min = lowest > 0 ? 0 : lowest;
  std::ranges::fill(best, uint8_t(0));
  if (highest == min) return {0, min};
  const float inverse_scale = float(search.largest) / (highest - min);
  Line line{1 / inverse_scale, min};
  GroupCodes codes = group.codes(inverse_scale, min, search.largest);
  float least = group.error(codes, line);
  std::ranges::copy(codes, best.begin());
  for (int i = 0; i < search.tries; ++i) {
    const float steps = search.first + 0.1f * float(i) + float(search.largest);
    codes = group.codes(steps / (highest - line.min), line.min, search.largest);
    const std::optional<Line> tried = group.fit(codes);
    if (!tried) continue;
    const float error = group.error(codes, *tried);
    if (error < least) {
      least = error;
      line = *tried;
      std::ranges::copy(codes, best.begin());
    }
  }
  return line;
}

/// Numbers of six bits, in units of which the largest is 63.
std::array<uint8_t, kGroups> in_63rds(const std::array<float, kGroups>& values, float largest) {
  const float inverse_unit = largest > 0 ? 63.0f / largest : 0.0f;
  std::array<uint8_t, kGroups> numbers;
  for (size_t g = 0; g < kGroups; ++g) {
    numbers[g] = std::min<uint8_t>(uint8_t(nearest(inverse_unit * values[g])), 63);
  }
  return numbers;
}

/// Eight scales and eight minimums of six bits in 12 bytes: four of each are whole; the other eight
/// have their high bits above those.
void pack_sixths(const std::array<uint8_t, kGroups>& scales,
                 const std::array<uint8_t, kGroups>& mins, std::byte* to) {
  for (size_t i = 0; i < 4; ++i) {
    const uint8_t scale = scales[i + 4], min = mins[i + 4];
    to[i] = std::byte(scales[i] | ((scale >> 4) << 6));
    to[i + 4] = std::byte(mins[i] | ((min >> 4) << 6));
    to[i + 8] = std::byte((scale & 15) | ((min & 15) << 4));
  }
}

/// Q4_K and Q5_K up to their codes: writes the first 16 bytes of the block, which are d, dmin and
/// the scales and minimums in units of those. False where d or dmin is not finite.
bool encode_lines(Values<kBlock> x, const Search& search, std::byte* block,
                  std::array<uint8_t, kBlock>& codes) {
  std::array<float, kGroups> scales, mins;
  float largest_scale = 0, largest_min = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    const LineGroup group(Values<kGroup>(x.data() + g * kGroup, kGroup));
    const Line line =
        search_line(group, search, std::span<uint8_t, kGroup>(&codes[g * kGroup], kGroup));
    scales[g] = line.scale;
    mins[g] = -line.min;
    largest_scale = std::max(largest_scale, scales[g]);
    largest_min = std::max(largest_min, mins[g]);
  }
  const auto scale_numbers = in_63rds(scales, largest_scale);
  const auto min_numbers = in_63rds(mins, largest_min);
  pack_sixths(scale_numbers, min_numbers, block + 4);
  if (!put_half(largest_scale / 63, block) || !put_half(largest_min / 63, block + 2)) return false;

  const float d = to_float(to_f16(largest_scale / 63)), dmin = to_float(to_f16(largest_min / 63));
  for (size_t g = 0; g < kGroups; ++g) {
    const float scale = d * float(scale_numbers[g]), min = dmin * float(min_numbers[g]);
    if (scale == 0) continue;  // the codes mean nothing; those of the search stay
    for (size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      codes[i] = uint8_t(std::clamp(nearest((x[i] + min) / scale), 0, search.largest));
    }
  }
  return true;
}

constexpr size_t kShort = 16, kShorts = kBlock / kShort;  // groups of Q6_K
constexpr float kAlmostZero = 1e-15f;  // values and scales below it count as zero
constexpr int kMiddle = 32;            // its code for zero

/// Sums over a group of Q6_K, weighted with x^2: of signed codes times values, of squared codes.
struct Sums {
  float lx = 0, ll = 0;
};

int signed_code(float x) { return std::clamp(nearest(x), -kMiddle, kMiddle - 1); }

Sums sums_at(Values<kShort> x, float inverse_scale) {
  Sums sums;
  for (const float value : x) {
    const float code = float(signed_code(inverse_scale * value));
    const float weight = value * value;
    sums.lx += weight * value * code;
    sums.ll += weight * code * code;
  }
  return sums;
}

/// The scale with the least weighted squared error among those that give the extreme value codes
/// near -32 (-31.1 to -32.9 in tenths), and its codes. Zero where the group is (almost) zero.
float search_scale(Values<kShort> x, std::span<uint8_t, kShort> codes) {
  float extreme = 0;
  for (const float value : x) {
    if (std::abs(value) > std::abs(extreme)) extreme = value;
  }
  std::ranges::fill(codes, uint8_t(0));
  if (std::abs(extreme) < kAlmostZero) return 0;
  float best_inverse = -float(kMiddle) / extreme;
  Sums sums = sums_at(x, best_inverse);
  float scale = sums.ll != 0 ? sums.lx / sums.ll : 0;
  float gain = scale * sums.lx;  // what the best scale takes away from the error
  for (int tenth = -9; tenth <= 9; ++tenth) {
    if (tenth == 0) continue;
    const float inverse_scale = -(float(kMiddle) + 0.1f * float(tenth)) / extreme;
    sums = sums_at(x, inverse_scale);
    if (sums.ll > 0 && sums.lx * sums.lx > gain * sums.ll) {
      best_inverse = inverse_scale;
      scale = sums.lx / sums.ll;
      gain = scale * sums.lx;
    }
  }
  for (size_t i = 0; i < kShort; ++i) {
    codes[i] = uint8_t(signed_code(best_inverse * x[i]) + kMiddle);
  }
  return scale;
}

}  // namespace

bool q4_k(const float* x, std::byte* block) {
  std::array<uint8_t, kBlock> codes;
  if (!encode_lines(Values<kBlock>(x, kBlock), kSearch4, block, codes)) return false;
  pack<4, 32>(codes, 0, block + 16);
  return true;
}

bool q5_k(const float* x, std::byte* block) {
  std::array<uint8_t, kBlock> codes;
  if (!encode_lines(Values<kBlock>(x, kBlock), kSearch5, block, codes)) return false;
  pack<1, 32>(codes, 4, block + 16);
  pack<4, 32>(codes, 0, block + 48);
  return true;
}

bool q6_k(const float* x, std::byte* block) {
  std::array<uint8_t, kBlock> codes;
  std::array<float, kShorts> scales;
  float extreme = 0;
  for (size_t g = 0; g < kShorts; ++g) {
    scales[g] = search_scale(Values<kShort>(x + g * kShort, kShort),
                             std::span<uint8_t, kShort>(&codes[g * kShort], kShort));
    if (!std::isfinite(scales[g])) return false;
    if (std::abs(scales[g]) > std::abs(extreme)) extreme = scales[g];
  }
  if (std::abs(extreme) < kAlmostZero) {
    std::fill_n(block, 210, std::byte(0));
    return true;
  }
  const float inverse_unit = -128.0f / extreme;
  if (!put_half(1 / inverse_unit, block + 208)) return false;
  const float d = to_float(to_f16(1 / inverse_unit));
  for (size_t g = 0; g < kShorts; ++g) {
    const int number = std::min(nearest(inverse_unit * scales[g]), 127);
    block[192 + g] = std::byte(number);
    const float scale = d * float(number);
    if (scale == 0) continue;  // the codes mean nothing; those of the search stay
    for (size_t i = g * kShort; i < (g + 1) * kShort; ++i) {
      codes[i] = uint8_t(signed_code(x[i] / scale) + kMiddle);
    }
  }
  pack<4, 64>(codes, 0, block);
  pack<2, 32>(codes, 4, block + 128);
  return true;
}

}  // namespace tessera::io::gguf_block
