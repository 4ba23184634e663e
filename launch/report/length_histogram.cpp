#include "launch/report/length_histogram.h"

#include <algorithm>

namespace tessera::launch {
namespace {

constexpr int64_t kMostBins = 12;

/// The least round width with which kMostBins bins reach from `least` to `longest`.
int64_t round_width(int64_t least, int64_t longest) {
  for (int64_t power = 1;; power *= 10) {
    for (const int64_t digit : {1, 2, 5}) {
      const int64_t width = digit * power;
      if (longest / width - least / width < kMostBins) return width;
    }
  }
}

/// The least length that `percent` of 100 lengths do not exceed (nearest rank).
int64_t percentile(std::vector<uint32_t>& lengths, uint64_t percent) {
  const size_t rank = (lengths.size() * percent + 99) / 100;
  const auto at = lengths.begin() + int64_t(rank) - 1;
  std::nth_element(lengths.begin(), at, lengths.end());
  return *at;
}

}  // namespace

LengthHistogram::LengthHistogram(std::vector<uint32_t> lengths) : samples(int64_t(lengths.size())) {
  if (lengths.empty()) return;
  for (const uint32_t length : lengths) tokens += length;
  mean = double(tokens) / double(samples);
  const auto [shortest, most] = std::ranges::minmax(lengths);
  least = shortest;
  longest = most;
  width = round_width(least, longest);
  const int64_t first = least / width;
  for (int64_t b = first; b <= longest / width; ++b) {
    bins.push_back({b * width, (b + 1) * width, 0});
  }
  for (const uint32_t length : lengths) ++bins[size_t(length / width - first)].samples;
  median = percentile(lengths, 50);
  p95 = percentile(lengths, 95);
}

}  // namespace tessera::launch
