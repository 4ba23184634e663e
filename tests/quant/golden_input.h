// The deterministic tensors and fingerprints of tests/golden/make_quant_golden.py, whose rules it
// repeats.
#pragma once

#include <fmt/format.h>
#include <bit>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "quant/codebook.h"
#include "quant/format.h"
#include "runtime/core/context.h"
#include "runtime/core/error.h"
#include "tests/splitmix64.h"

namespace tessera::quant {

/// For the names of tests: "nf4_130x172_64_nested".
inline void PrintTo(const FrozenSpec& s, std::ostream* out) {
  *out << fmt::format("{}_{}x{}", s.format->name, s.rows, s.cols);
  if (!s.format->dtype) *out << fmt::format("_{}{}", s.block, s.double_quant ? "_nested" : "");
}

using testing::splitmix64;

inline std::vector<float> bell(int64_t n, uint64_t seed, float scale) {
  std::vector<float> x(size_t(n), 0.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    const uint64_t h = splitmix64(seed + i);
    int64_t total = -131070;
    for (int k = 0; k < 4; ++k) total += int64_t((h >> (16 * k)) & 0xFFFF);
    x[i] = float(total) * 0x1p-17f * scale;
  }
  return x;
}

inline std::vector<float> golden_input(const Codebook4& book, const std::string& kind, int64_t n) {
  if (kind == "constant") return std::vector<float>(size_t(n), 0.37f);
  if (kind == "ties0.3") {
    std::vector<float> x = golden_input(book, "ties", n);
    for (float& v : x) v *= 0.3f;
    return x;
  }
  if (kind == "ties") {
    std::vector<float> x(size_t(n), 1.0f);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = i % 64 - 1;
      if (j < 0) continue;
      const float t = book.thresholds[size_t(j / 3 % 15)];
      x[size_t(i)] = j % 3 == 0 ? t : std::nextafter(t, j % 3 == 1 ? -2.0f : 2.0f);
    }
    return x;
  }
  const float scale = kind == "tiny"        ? 0x1p-126f
                      : kind == "subnormal" ? 0x1p-140f
                      : kind == "huge"      ? 0x1p127f
                                            : 0.05f;
  std::vector<float> x = bell(n, 1234, scale);
  for (int64_t i = 0; kind == "zeros" && i < n; ++i) {
    if (i / 64 % 3 == 1) x[size_t(i)] = 0;
  }
  return x;
}

/// T: an unsigned integer type as wide as the elements.
template <class T>
uint64_t fingerprint(std::span<const T> bits) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bits.size(); ++i) sum += (bits[i] + uint64_t{1}) * splitmix64(i);
  return sum;
}

/// Sets ctx up to compute: a Context without scratch only measures.
inline void give_scratch(Context& ctx) { ctx.set_scratch(Arena(4096)); }

inline std::ifstream open_golden(const std::string& name) {
  const std::string path = std::string(TESSERA_GOLDEN_DIR) + "/quant/" + name;
  std::ifstream file(path);
  if (!file) fail("cannot open {}", path);
  return file;
}

inline float float_of_hex(const std::string& hex) {
  return std::bit_cast<float>(uint32_t(std::stoul(hex, nullptr, 16)));
}

}  // namespace tessera::quant
