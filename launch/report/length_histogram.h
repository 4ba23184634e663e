// How long samples are: percentiles, and a histogram of about a dozen bins of round width.
#pragma once

#include <cstdint>
#include <vector>

namespace tessera::launch {

/// All of it in tokens; zeros where there are no samples.
struct LengthHistogram {
  struct Bin {
    int64_t begin, end;  // lengths from `begin` on, below `end`
    int64_t samples;
  };

  LengthHistogram() = default;
  /// Sorts parts of `lengths` in place: no copy of them is made.
  explicit LengthHistogram(std::vector<uint32_t> lengths);

  int64_t samples = 0;
  int64_t tokens = 0;
  int64_t least = 0, longest = 0;
  int64_t median = 0;  // the shortest that half of the samples do not exceed
  int64_t p95 = 0;     // likewise 95 of 100
  double mean = 0;
  int64_t width = 0;      // of a bin: 1, 2 or 5 times a power of ten
  std::vector<Bin> bins;  // from the first that is not empty to the last, at most 12
};

}  // namespace tessera::launch
