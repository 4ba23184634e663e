#include "launch/report/curve.h"

#include <algorithm>
#include <cmath>

namespace tessera::launch {

std::vector<Point> curve_of(std::span<const double> x, std::span<const double> y) {
  std::vector<Point> curve;
  curve.reserve(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(y[i])) curve.push_back({x[i], y[i]});
  }
  return curve;
}

std::vector<Point> thinned(const std::vector<Point>& curve, size_t buckets) {
  if (curve.size() <= 2 * buckets + 2) return curve;
  const double first = curve.front().x;
  const double width = (curve.back().x - first) / double(buckets);
  std::vector<Point> kept = {curve.front()};
  for (size_t begin = 1; begin + 1 < curve.size();) {
    const double end_x = first + width * (std::floor((curve[begin].x - first) / width) + 1);
    size_t least = begin, most = begin, end = begin;
    for (; end + 1 < curve.size() && (end == begin || curve[end].x < end_x); ++end) {
      if (curve[end].y < curve[least].y) least = end;
      if (curve[end].y > curve[most].y) most = end;
    }
    kept.push_back(curve[std::min(least, most)]);
    if (least != most) kept.push_back(curve[std::max(least, most)]);
    begin = end;
  }
  kept.push_back(curve.back());
  return kept;
}

std::vector<Point> smoothed(const std::vector<Point>& curve, double span) {
  const double weight = 2 / (span + 1);
  std::vector<Point> means;
  means.reserve(curve.size());
  double sum = 0, weights = 0;
  for (const Point& point : curve) {
    sum += weight * (point.y - sum);
    weights += weight * (1 - weights);
    means.push_back({point.x, sum / weights});
  }
  return means;
}

double quantile(const std::vector<Point>& curve, double share) {
  if (curve.empty()) return 0;
  std::vector<double> values;
  values.reserve(curve.size());
  for (const Point& point : curve) values.push_back(point.y);
  const auto rank = size_t(std::ceil(share * double(values.size())));
  const auto at = values.begin() + std::ptrdiff_t(std::max<size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Ticks ticks_between(double low, double high, int count) {
  const double least = std::max({std::abs(low), std::abs(high), 1e-30}) * 1e-9;
  const double wanted = std::max(high - low, least) / std::max(count, 1);
  const double power = std::pow(10, std::floor(std::log10(wanted)));
  Ticks ticks{power, {}};
  for (const double digit : {1.0, 2.0, 5.0, 10.0}) {
    ticks.step = digit * power;
    if (ticks.step >= wanted * (1 - 1e-9)) break;
  }
  // Products, not sums: a sum of steps of 0.1 would miss 0.3.
  for (double n = std::ceil(low / ticks.step - 1e-9); n * ticks.step <= high + 1e-9 * ticks.step;
       ++n) {
    ticks.at.push_back(n * ticks.step);
  }
  if (ticks.at.empty()) ticks.at.push_back(low);
  return ticks;
}

}  // namespace tessera::launch
