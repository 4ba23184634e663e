// The inputs of tests/golden/optim, by the rule in make_optim_golden.py, and its files.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/io/json.h"
#include "tests/splitmix64.h"

namespace tessera::optim {

inline nlohmann::json read_golden(const std::string& name) {
  return io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/optim/" + name, 1 << 20);
}

inline std::vector<float> golden_values(uint64_t stream, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t h = testing::splitmix64((stream << 32) + i);
    values[i] = std::ldexp(testing::unit_value(h), -int(h & 15));
  }
  return values;
}

}  // namespace tessera::optim
