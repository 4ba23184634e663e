// Reads ops.json, which make_ops_golden.py made with torch and transformers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "runtime/io/json.h"

namespace tessera::testing {

inline nlohmann::json ops_golden(const std::string& name) {
  return io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/ops/ops.json", 1 << 20).at(name);
}

/// Every element within `relative` of its own size or of 1, whichever is larger.
inline void expect_close(std::span<const float> got, const std::vector<float>& expected,
                         double relative) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double size = std::max(1.0, std::abs(double(expected[i])));
    EXPECT_NEAR(got[i], expected[i], relative * size) << "element " << i;
  }
}

}  // namespace tessera::testing
