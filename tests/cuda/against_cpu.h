// What the tests that hold an operator of the GPU against the CPU's share: a context of the CPU,
// the types, and how far results may be apart.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/cuda/on_device.h"

namespace tessera::testing {

using Floats = std::vector<float>;

inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

/// Lengths of flat arrays: below, at and above a run of 16 bytes and a block of threads.
inline constexpr int64_t kLengths[] = {1, 3, 8, 9, 255, 2048, 4101};

class CpuContext : public Context {
 public:
  CpuContext() : Context(Device::cpu(), 1, 7) { set_scratch(Arena(size_t{1} << 16)); }
};

/// n normal values times `scale`, as `dtype` holds them. The same for the same seed.
inline Floats normal_values(DType dtype, int64_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Floats values(static_cast<size_t>(n));
  for (float& v : values) v = normal(rng);
  return rounded(dtype, std::move(values));
}

/// A view of host values.
inline Tensor of(Floats& values, int64_t rows) {
  return Tensor::of(std::span(values), {rows, int64_t(values.size()) / rows});
}
inline Tensor of(Floats& values) { return Tensor::of(std::span(values), {int64_t(values.size())}); }

/// For a GPU that rounds the CPU's float32 result once: NaN is NaN, all else the same bits.
inline void expect_same(DType dtype, const Floats& got, const Floats& expected) {
  const Floats wanted = rounded(dtype, expected);
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(wanted[i])) continue;
    ASSERT_EQ(std::memcmp(&got[i], &wanted[i], sizeof(float)), 0)
        << "element " << i << ": " << got[i] << " for " << wanted[i];
  }
}

/// How much one rounding to `dtype` moves x at most.
inline double rounding(DType dtype, double x) {
  switch (dtype) {
    case DType::kBF16:
      return 0x1p-8 * std::abs(x);
    case DType::kF16:
      return std::max(0x1p-11 * std::abs(x), 0x1p-25);
    default:
      return 0;
  }
}

/// What float32 arithmetic may differ by between the two, beside the rounding of what is stored.
struct Noise {
  double relative;
  double absolute = 0;
};
inline void expect_close(DType dtype, const Floats& got, const Floats& expected, Noise noise) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(expected[i])) continue;
    const double x = double(expected[i]), strays = noise.relative * std::abs(x) + noise.absolute;
    ASSERT_LE(std::abs(double(got[i]) - x), strays + rounding(dtype, std::abs(x) + strays))
        << "element " << i << ": " << got[i] << " for " << x;
  }
}

/// What f(dtype, n, offset) does for all types, lengths of flat arrays, and starts on and beside a
/// multiple of 16 bytes.
template <class F>
void over_flat_arrays(F&& f) {
  for (DType dtype : kFloatTypes) {
    for (int64_t n : kLengths) {
      for (int64_t offset : {0, 1}) {
        SCOPED_TRACE(std::string(name_of(dtype)) + " x " + std::to_string(n) + " from element " +
                     std::to_string(offset));
        f(dtype, n, offset);
      }
    }
  }
}

/// Values on the device that start `offset` elements into their memory.
class Flat {
 public:
  Flat(DType dtype, const Floats& values, int64_t offset)
      : offset_(offset), size_(int64_t(values.size())), memory_(dtype, {offset_ + size_ + 1}) {
    Floats all(size_t(offset_), kOutside);
    all.insert(all.end(), values.begin(), values.end());
    all.push_back(kOutside);
    memory_.set(all);
  }
  operator Tensor() const { return memory_.tensor().slice(offset_, offset_ + size_); }
  /// Expects that nothing around them has changed.
  Floats values(Context& ctx) const {
    const Floats all = memory_.values(ctx);
    for (int64_t i = 0; i < offset_; ++i) EXPECT_EQ(all[size_t(i)], kOutside);
    EXPECT_EQ(all.back(), kOutside);
    return Floats(all.begin() + offset_, all.end() - 1);
  }

 private:
  static constexpr float kOutside = 3.25f;
  int64_t offset_, size_;
  OnDevice memory_;
};

}  // namespace tessera::testing
