// For tests: the adapter that golden trainings begin with (rule in tests/golden/referee.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lora/adapter/adapter.h"
#include "tests/splitmix64.h"

namespace tessera::testing {

/// The adapter's segments in the golden's order: sorted by PEFT's names as bytes.
inline std::vector<lora::Segment> sorted_segments(const lora::AdapterSet& adapters) {
  std::vector<lora::Segment> segments = adapters.segments();
  std::ranges::sort(segments, {}, &lora::Segment::name);
  return segments;
}

/// Of rank 16 and alpha 32, on all linears of the layers.
inline lora::AdapterSet initial_adapter(const lora::ModelSpec& model) {
  lora::AdapterSet adapters(model, {.r = 16, .alpha = 32});
  uint64_t t = 0;
  for (const lora::Segment& segment : sorted_segments(adapters)) {
    const bool is_a = segment.name.find(".lora_A.") != std::string::npos;
    const float scale = is_a ? float(1.0 / std::sqrt(double(segment.cols))) : 0.01f;
    for (size_t i = 0; i < segment.elements(); ++i) {
      adapters.params()[segment.offset + i] = unit_value(splitmix64(1234 + (t << 32) + i)) * scale;
    }
    ++t;
  }
  return adapters;
}

}  // namespace tessera::testing
