#include "launch/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "launch/console/progress.h"
#include "launch/report/html.h"

namespace tessera::launch {
namespace {

/// The SVG's own size; the page stretches it.
constexpr double kSide = 1000;
/// Room above and under the curves, as a share of their range.
constexpr double kMargin = 0.05;
constexpr int kTicksAcross = 8, kTicksUp = 6;

constexpr std::array<std::string_view, 4> kLooks = {"faint", "strong", "dots", "limit"};

struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool doublings = false;

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double share(double value) const {
    return doublings ? std::log2(value / low) / std::log2(high / low)
                     : (value - low) / (high - low);
  }
};

/// "0.5", "2e-4", "1.5k", "3M"
std::string short_number(double value) {
  const double size = std::abs(value);
  if (size >= 1e6 && size < 1e9) return fmt::format("{:g}M", value / 1e6);
  if (size >= 1e3 && size < 1e6) return fmt::format("{:g}k", value / 1e3);
  std::string text = fmt::format("{:g}", value == 0 ? 0.0 : value);  // no -0
  const size_t exponent = text.find("e-0");
  if (exponent != text.npos) text.erase(exponent + 2, 1);
  return text;
}

/// The labels of an axis are multiples of a round step in the unit that is written.
double unit_size(const Axis& axis, Unit unit) {
  if (unit == Unit::kPercent) return 0.01;
  if (unit != Unit::kBytes) return 1;
  const double most = std::max(std::abs(axis.low), std::abs(axis.high));
  double size = 1024;
  while (size < 0x1p40 && most >= 1024 * size) size *= 1024;
  return size;
}

std::string tick_text(double tick, double size, Unit unit) {
  switch (unit) {
    case Unit::kNumber:
    case Unit::kPerSecond:
      break;
    case Unit::kPercent:
      return short_number(tick) + " %";
    case Unit::kBytes:
      return fmt::format("{} {}iB", short_number(tick),
                         size < 0x1p20   ? "K"
                         : size < 0x1p30 ? "M"
                         : size < 0x1p40 ? "G"
                                         : "T");
  }
  return short_number(tick);
}

Axis value_axis(const Chart& chart) {
  Axis axis;
  for (const ChartLine& line : chart.lines) {
    for (const Point& point : line.points) {
      axis.include(chart.top ? std::min(point.y, *chart.top) : point.y);
    }
  }
  if (chart.from_zero) axis.include(0);
  double range = axis.high - axis.low;
  // A level line stands in the middle; rounding alone is no change.
  if (range <= 1e-9 * std::max(std::abs(axis.low), std::abs(axis.high))) {
    range = axis.high == 0 ? 1 : std::abs(axis.high) / 5;
    axis.low -= range / 2;
    axis.high += range / 2;
  }
  if (!chart.from_zero || axis.low < 0) axis.low -= kMargin * range;
  axis.high += kMargin * range;
  return axis;
}

void add_tick_labels(std::string& grid, std::string& labels, const Axis& axis, Unit unit) {
  const double size = unit_size(axis, unit);
  for (const double tick : ticks_between(axis.low / size, axis.high / size, kTicksUp).at) {
    const double share = axis.share(tick * size);
    grid += fmt::format("M0 {:.1f}H{:g}", kSide * (1 - share), kSide);
    labels += fmt::format("<span style=\"bottom:{:.2f}%\">{}</span>", 100 * share,
                          tick_text(tick, size, unit));
  }
}

/// The labels of the axis across: whole numbers, or the powers of two within it.
std::string across_labels(const Axis& axis) {
  std::string labels;
  const auto add = [&](double tick, const std::string& text) {
    labels += fmt::format("<span style=\"left:{:.2f}%\">{}</span>", 100 * axis.share(tick), text);
  };
  if (axis.doublings) {
    for (double tick = std::exp2(std::ceil(std::log2(axis.low))); tick <= axis.high; tick *= 2) {
      add(tick, fmt::format("{:g}", tick));
    }
    return labels;
  }
  for (const double tick : ticks_between(axis.low, axis.high, kTicksAcross).at) {
    if (tick == std::floor(tick)) add(tick, short_number(tick));
  }
  return labels;
}

/// The curve, with its values for the pointer.
std::string line_svg(const ChartLine& line, const Axis& x, const Axis& y, Unit unit) {
  std::string path, steps, values;
  const bool dots = line.look == ChartLine::Look::kDots || line.points.size() == 1;
  std::string marks;
  for (const Point& point : line.points) {
    const std::string place = fmt::format("{:.1f} {:.1f}", kSide * x.share(point.x),
                                          kSide * (1 - std::clamp(y.share(point.y), 0.0, 1.0)));
    path += (path.empty() ? "M" : "L") + place;
    if (dots) marks += "M" + place + "h0";
    const char* gap = steps.empty() ? "" : " ";
    steps += fmt::format("{}{:.0f}", gap, point.x);
    values += fmt::format("{}{:.5g}", gap, point.y);
  }
  const size_t look = size_t(line.look);
  std::string svg = fmt::format("<path class=\"{} c{}\" d=\"{}\"", kLooks[look], line.colour, path);
  svg += fmt::format(" data-name=\"{}\" data-unit=\"{}\" data-x=\"{}\" data-v=\"{}\"/>\n",
                     escaped(line.name), int(unit), steps, values);
  if (dots) svg += fmt::format("<path class=\"marks c{}\" d=\"{}\"/>\n", line.colour, marks);
  return svg;
}

}  // namespace

std::string value_text(double value, Unit unit) {
  if (!std::isfinite(value)) return "not a number";
  switch (unit) {
    case Unit::kNumber:
      break;
    case Unit::kBytes:
      return format_bytes(int64_t(std::clamp(value, -0x1p62, 0x1p62)));
    case Unit::kPerSecond:
      return value < 100 ? fmt::format("{:.3g}/s", value)
                         : format_count(std::llround(std::min(value, 0x1p62))) + "/s";
    case Unit::kPercent:
      return fmt::format("{:.1f} %", 100 * value);
  }
  return fmt::format("{:#.4g}", value);
}

std::string swatch(size_t colour) {
  return fmt::format(
      "<svg class=\"swatch\" viewBox=\"0 0 26 10\" aria-hidden=\"true\">"
      "<path class=\"strong c{}\" d=\"M0 5H26\"/></svg>",
      colour);
}

std::string legend_html(const std::vector<std::string>& names) {
  if (names.size() < 2) return "";
  std::string html = "<p class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i) {
    html += fmt::format("<span>{}{}</span>", swatch(i), escaped(names[i]));
  }
  return html + "</p>\n";
}

std::string chart_html(const Chart& chart) {
  const bool empty =
      std::ranges::all_of(chart.lines, [](const ChartLine& line) { return line.points.empty(); });
  if (empty) return "";
  const Axis x{chart.first_step, std::max(chart.last_step, chart.first_step + 1), chart.doublings};
  const Axis y = value_axis(chart);
  std::string grid, up, curves;
  add_tick_labels(grid, up, y, chart.values);
  for (const ChartLine& line : chart.lines) {
    if (!line.points.empty()) curves += line_svg(line, x, y, chart.values);
  }
  std::string html =
      fmt::format("<figure{}>\n<figcaption>{} <span class=\"soft\">{}</span></figcaption>\n",
                  chart.wide ? " class=\"wide\"" : "", escaped(chart.title), escaped(chart.unit));
  html += fmt::format(
      "<div class=\"plot\"><div class=\"up\">{}</div>\n"
      "<div class=\"area\" data-low=\"{:.0f}\" data-high=\"{:.0f}\" data-across=\"{}\"{}>"
      "<svg viewBox=\"0 0 {:g} {:g}\" preserveAspectRatio=\"none\" role=\"img\" "
      "aria-label=\"{} by {}\">\n<path class=\"grid\" d=\"{}\"/>\n{}</svg></div>\n",
      up, x.low, x.high, escaped(chart.across), chart.doublings ? " data-doublings=\"\"" : "",
      kSide, kSide, escaped(chart.title), escaped(chart.across), grid, curves);
  html += fmt::format("<div class=\"across\">{}<i>{}</i></div></div>\n", across_labels(x),
                      escaped(chart.across));
  if (!chart.note.empty()) html += fmt::format("<p class=\"soft\">{}</p>\n", escaped(chart.note));
  return html + "</figure>\n";
}

}  // namespace tessera::launch
