// Charts of a study as one SVG file, drawn as the page of `tessera report` draws those of a run.
//
//   bench_plot CHARTS.json OUT.svg
//
// CHARTS.json is a list of {"title", "unit", "values": "number" | "bytes" | "per second", "across",
// "doublings", "note", "lines": [{"name", "look": "strong" | "dots" | "limit", "points":
// [[x, y], ...]}]}. Two charts stand side by side.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/report/run_page_look.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

constexpr int kWidth = 560, kHeight = 340, kLegendLine = 24;  // of a chart, in pixels

/// Beside the page's own style: columns that do not depend on the window, and the name of the axis
/// under its numbers.
constexpr std::string_view kStyle = R"css(
.charts { grid-template-columns: repeat(auto-fit, 33rem); padding: 1rem; }
.legend { font-size: .8rem; margin: .4rem 0 0; gap: .1rem 1.2rem; }
.plot { padding-bottom: 2.8rem; } .up { bottom: 2.8rem; } .across { bottom: 1.2rem; }
.across i { left: 0; right: 0; top: 1.3rem; text-align: center; }
)css";

template <class Value>
Value one_of(const std::map<std::string, Value>& table, const std::string& name) {
  const auto found = table.find(name);
  if (found == table.end()) fail_usage("'{}' is no kind of a chart's line or value", name);
  return found->second;
}

Chart read_chart(const json& from) {
  Chart chart{
      .title = from.at("title"),
      .unit = from.at("unit"),
      .values = one_of<Unit>(
          {{"number", Unit::kNumber}, {"bytes", Unit::kBytes}, {"per second", Unit::kPerSecond}},
          from.at("values")),
      .across = from.at("across"),
      .first_step = std::numeric_limits<double>::infinity(),
      .last_step = 0,
      .doublings = from.at("doublings"),
      .from_zero = true,
      .note = from.at("note")};
  for (const json& line : from.at("lines")) {
    ChartLine& added = chart.lines.emplace_back();
    added.name = line.at("name");
    added.colour = (chart.lines.size() - 1) % kMostRuns;
    added.look = one_of<ChartLine::Look>({{"strong", ChartLine::Look::kStrong},
                                          {"dots", ChartLine::Look::kDots},
                                          {"limit", ChartLine::Look::kLimit}},
                                         line.at("look"));
    for (const json& point : line.at("points")) {
      added.points.push_back({point.at(0), point.at(1)});
      chart.first_step = std::min(chart.first_step, added.points.back().x);
      chart.last_step = std::max(chart.last_step, added.points.back().x);
    }
  }
  return chart;
}

std::string legend(const Chart& chart) {
  std::string html = "<p class=\"legend\">";
  for (const ChartLine& line : chart.lines) {
    html += fmt::format(
        "<span><svg class=\"swatch\" viewBox=\"0 0 26 10\"><path class=\"{} c{}\" d=\"M0 5H26\"/>"
        "</svg>{}</span>",
        line.look == ChartLine::Look::kLimit ? "limit" : "strong", line.colour, escaped(line.name));
  }
  return html + "</p>\n";
}

/// Inside of a page of HTML a picture needs no namespace, in a file of XML it does.
std::string with_namespace(std::string html) {
  constexpr std::string_view kTag = "<svg ";
  for (size_t at = 0; (at = html.find(kTag, at)) != html.npos; at += kTag.size()) {
    html.insert(at + kTag.size(), "xmlns=\"http://www.w3.org/2000/svg\" ");
  }
  return html;
}

void draw(const std::string& from, const std::string& to) {
  std::string charts;
  int count = 0, lines = 0;
  for (const json& entry : io::read_json_file(from, size_t{16} << 20)) {
    const Chart chart = read_chart(entry);
    const std::string html = chart_html(chart);
    if (html.empty()) fail("{}: the chart '{}' has no point", from, chart.title);
    charts += "<div>" + with_namespace(html + legend(chart)) + "</div>\n";
    lines = std::max(lines, int(chart.lines.size() + 1) / 2);
    ++count;
  }
  const int width = kWidth * std::min(count, 2);
  const int height = (kHeight + kLegendLine * lines) * ((count + 1) / 2);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\">\n<style>{2}{3}</style>\n<foreignObject width=\"{0}\" height=\"{1}\">\n",
      width, height, kRunPageStyle, kStyle);
  svg += fmt::format(
      "<body xmlns=\"http://www.w3.org/1999/xhtml\" style=\"padding:0;max-width:none\">"
      "<div class=\"charts\">\n{}</div></body>\n</foreignObject>\n</svg>\n",
      charts);
  io::write_file(to, svg);
}

}  // namespace
}  // namespace tessera::launch

int main(int argc, char** argv) {
  try {
    if (argc != 3) tessera::fail_usage("usage: bench_plot CHARTS.json OUT.svg");
    tessera::launch::draw(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_plot: {}\n", error.what());
    return 1;
  }
}
