// A chart of a page: curves over steps as SVG that stretches, with labels as text that does not.
// It needs no script; what the page's script shows under the pointer stands in attributes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/report/curve.h"

namespace tessera::launch {

/// What the values of a chart are, which decides how they are written.
enum class Unit { kNumber, kBytes, kPerSecond, kPercent };

/// "0.0114", "612 MiB", "345/s", "1.2 %"
std::string value_text(double value, Unit unit);

struct ChartLine {
  enum class Look {
    kFaint,   // single steps under their mean
    kStrong,  // the line to look at
    kDots,    // few points, each one marked and joined
    kLimit,   // dashed: a level that is not measured
  };
  std::string name;
  size_t colour = 0;  // number of the run
  Look look = Look::kStrong;
  std::vector<Point> points = {};  // as they are drawn: see thinned()
};

struct Chart {
  std::string title;
  std::string unit = {};  // behind the title: "tokens per second"
  Unit values = Unit::kNumber;
  std::string across = "step";           // what the axis counts
  double first_step = 0, last_step = 1;  // at the ends of the axis
  bool doublings = false;  // equal distances on the axis are equal ratios; its ends are above 0
  std::vector<ChartLine> lines = {};
  bool from_zero = false;          // the axis begins at 0
  std::optional<double> top = {};  // values above are drawn at the edge
  std::string note = {};           // under the chart
  bool wide = false;               // across the page
};

/// What a line of this colour looks like.
std::string swatch(size_t colour);
/// The names of the lines of charts, whose colours are their places. Empty for a single one.
std::string legend_html(const std::vector<std::string>& names);

/// Empty where no line has a point.
std::string chart_html(const Chart& chart);

}  // namespace tessera::launch
