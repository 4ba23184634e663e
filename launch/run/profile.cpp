#include "launch/run/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

namespace tessera::launch {
namespace {

using nlohmann::ordered_json;

constexpr double kMicroseconds = 1e6, kMilliseconds = 1e3;

/// What is done with layers, and last what happens outside of them: the columns of the table.
constexpr std::array<std::string_view, 4> kColumns = {"forward", "again", "backward", "elsewhere"};

size_t column_of(const TimelinePlace& place) {
  for (size_t i = 0; i + 1 < kColumns.size(); ++i) {
    if (place.work == kColumns[i]) return i;
  }
  return kColumns.size() - 1;
}

ordered_json slice(int rank, std::string name, double begin, double seconds) {
  return {{"name", std::move(name)},
          {"ph", "X"},
          {"pid", rank},
          {"tid", 0},
          {"ts", begin * kMicroseconds},
          {"dur", seconds * kMicroseconds}};
}

double end_of(const TimelineSpan& span) { return span.begin + span.seconds; }

std::string name_of(const TimelinePlace& place) {
  return fmt::format("layer {} {}", place.layer, place.work);
}

/// The slices of layers' turns: neighbours at one place are one turn.
void add_turns(ordered_json& events, int rank, const std::vector<TimelineSpan>& spans) {
  for (size_t i = 0; i < spans.size();) {
    size_t last = i;
    while (last + 1 < spans.size() && spans[last + 1].place == spans[i].place) ++last;
    if (spans[i].place.layer >= 0) {
      events.push_back(slice(rank, name_of(spans[i].place), spans[i].begin,
                             end_of(spans[last]) - spans[i].begin));
    }
    i = last + 1;
  }
}

std::string row(std::string_view name, const std::array<double, kColumns.size()>& seconds,
                double step) {
  std::string text = fmt::format("         {:<12}", name);
  double total = 0;
  for (const double s : seconds) {
    text += s > 0 ? fmt::format("{:>11.1f}", s * kMilliseconds) : fmt::format("{:>11}", "");
    total += s;
  }
  return text + fmt::format("{:>11.1f}{:>7.1f} %", total * kMilliseconds, 100 * total / step);
}

}  // namespace

void Profile::begin_step() {
  if (!warm_ || complete()) return;
  timeline_.emplace(ctx_.compute_stream());
  ctx_.set_timeline(&*timeline_);
}

void Profile::end_step(int64_t step) {
  warm_ = true;
  if (!timeline_) return;
  steps_.push_back({step, timeline_->spans()});
  ctx_.set_timeline(nullptr);
  timeline_.reset();
}

std::string Profile::trace(int rank) const {
  ordered_json events = ordered_json::array();
  events.push_back({{"name", "process_name"},
                    {"ph", "M"},
                    {"pid", rank},
                    {"args", {{"name", fmt::format("rank {}", rank)}}}});
  events.push_back({{"name", "thread_name"},
                    {"ph", "M"},
                    {"pid", rank},
                    {"tid", 0},
                    {"args", {{"name", ctx_.device().is_cuda() ? "GPU stream" : "CPU"}}}});
  double before = 0;  // steps follow each other without a gap
  for (const Step& step : steps_) {
    std::vector<TimelineSpan> spans = step.spans;
    for (TimelineSpan& span : spans) span.begin += before;
    const double seconds = spans.empty() ? 0 : end_of(spans.back()) - before;
    events.push_back(slice(rank, fmt::format("step {}", step.number), before, seconds));
    add_turns(events, rank, spans);
    for (const TimelineSpan& span : spans) {
      const std::string_view part = kPartNames[size_t(span.part)];
      events.push_back(slice(rank, std::string(part), span.begin, span.seconds));
    }
    before += seconds;
  }
  return ordered_json{{"displayTimeUnit", "ms"}, {"traceEvents", events}}.dump() + "\n";
}

std::vector<std::string> Profile::table() const {
  std::array<std::array<double, kColumns.size()>, kPartNames.size()> by_part = {};
  std::array<double, kColumns.size()> all = {};
  std::map<int32_t, double> by_layer;
  double total = 0;
  for (const Step& step : steps_) {
    for (const TimelineSpan& span : step.spans) {
      const double share = span.seconds / double(steps_.size());
      by_part[size_t(span.part)][column_of(span.place)] += share;
      all[column_of(span.place)] += share;
      if (span.place.layer >= 0) by_layer[span.place.layer] += share;
      total += share;
    }
  }
  std::string head = fmt::format("profile  {:<12}", "ms a step");
  for (const std::string_view column : kColumns) head += fmt::format("{:>11}", column);
  std::vector<std::string> lines = {head + fmt::format("{:>11}{:>9}", "all", "share")};
  for (size_t part = 0; part < by_part.size(); ++part) {
    double seconds = 0;
    for (const double s : by_part[part]) seconds += s;
    if (seconds > 0) lines.push_back(row(kPartNames[part], by_part[part], total));
  }
  lines.push_back(row("all", all, total));
  if (by_layer.empty()) return lines;
  const auto slower = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto slowest = std::max_element(by_layer.begin(), by_layer.end(), slower);
  double layers = 0;
  for (const auto& [layer, seconds] : by_layer) layers += seconds;
  lines.push_back(
      fmt::format("         a layer takes {:.1f} ms a step; the slowest, layer {}, {:.1f}",
                  layers / double(by_layer.size()) * kMilliseconds, slowest->first,
                  slowest->second * kMilliseconds));
  return lines;
}

}  // namespace tessera::launch
