// For benchmarks: weights and activations. On zeros a GPU draws less power and is faster.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "quant/cpu/half_floats.h"
#include "runtime/core/dtype.h"

namespace tessera::testing {

/// Normal with a deviation of 0.02: a million drawn values, over and over.
inline std::vector<float> random_values(size_t count) {
  static const std::vector<float> drawn = [] {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> some(1'000'003);
    for (float& x : some) x = normal(random);
    return some;
  }();
  std::vector<float> values(count);
  for (size_t at = 0; at < count; at += drawn.size()) {
    std::copy_n(drawn.begin(), std::min(drawn.size(), count - at), values.data() + at);
  }
  return values;
}

/// The bytes of the values in a float dtype.
inline std::vector<std::byte> stored(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else {
    quant::narrow(dtype, values.data(), int64_t(values.size()), bytes.data());
  }
  return bytes;
}

}  // namespace tessera::testing
