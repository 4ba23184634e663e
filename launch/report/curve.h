// Curves over steps: what is drawn of a million points, and their running mean. Values that are not
// finite are gaps, and are left out.
#pragma once

#include <span>
#include <vector>

namespace tessera::launch {

struct Point {
  double x, y;
};

/// The points whose value is finite. `x` is rising and as long as `y`.
std::vector<Point> curve_of(std::span<const double> x, std::span<const double> y);

/// Of each of `buckets` equal stretches of x, the least and the greatest value, in their order, and
/// the first and the last point: the picture of all, in at most 2 * buckets + 2 points. Curves of
/// no more points stay as they are.
std::vector<Point> thinned(const std::vector<Point>& curve, size_t buckets);

/// The exponential mean of `span` points (each weighs 2 / (span + 1)), without the bias of its
/// start.
std::vector<Point> smoothed(const std::vector<Point>& curve, double span);

/// The value that `share` of the points do not exceed (nearest rank); 0 without points.
double quantile(const std::vector<Point>& curve, double share);

/// Round numbers from `low` to `high`, about `count` of them: multiples of 1, 2 or 5 times a power
/// of ten. At least one, also where low equals high.
struct Ticks {
  double step;
  std::vector<double> at;
};
Ticks ticks_between(double low, double high, int count);

}  // namespace tessera::launch
