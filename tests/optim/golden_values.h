// The inputs of tests/golden/optim, by the rule in make_optim_golden.py, and its files.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/io/json.h"

namespace tessera::optim {

inline nlohmann::json read_golden(const std::string& name) {
  return io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/optim/" + name, 1 << 20);
}

inline std::vector<float> golden_values(uint64_t stream, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    uint64_t h = (stream << 32) + i + 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    h ^= h >> 31;
    values[i] = std::ldexp(float(h >> 40) * 0x1p-23f - 1.0f, -int(h & 15));
  }
  return values;
}

}  // namespace tessera::optim
