#include "launch/report/run_charts.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "launch/console/progress.h"
#include "launch/report/chart.h"

namespace tessera::launch {
namespace {

/// Stretches of the steps, of each of which the least and the greatest value are drawn.
constexpr size_t kBuckets = 400, kBucketsOfMany = 160;
constexpr size_t kManyRuns = 3;
/// A step this many times higher than 99 of 100 would flatten all others.
constexpr double kOutlier = 2.5;
constexpr size_t kMostSets = 6;
constexpr double kMissingStart = 0.1;  // of all steps
constexpr double kEndOfSteps = 1e9;

using Look = ChartLine::Look;

/// Makes the lines of one chart after the other.
class Charts {
 public:
  explicit Charts(const std::vector<ReportedRun>& runs)
      : runs_(runs), buckets_(runs.size() > kManyRuns ? kBucketsOfMany : kBuckets) {
    double first = kEndOfSteps;
    for (const ReportedRun& run : runs) {
      last_step_ = std::max(last_step_, double(run.figures.last_step));
      if (!run.history->steps.empty()) first = std::min(first, run.history->steps.front());
      for (const auto& e : run.history->evaluations) first = std::min(first, double(e.step));
    }
    // From 0 on, but for a file whose beginning is missing.
    if (first < last_step_ && first > kMissingStart * last_step_) first_step_ = first;
  }

  std::string loss() const {
    Chart chart{.title = "Loss", .unit = "mean over the tokens to learn", .wide = true};
    add_smoothed(chart, curves(Metric::kLoss));
    for (size_t r = 0; r < runs_.size(); ++r) {
      const std::vector<int64_t>& bad = runs_[r].figures.not_finite;
      if (bad.empty()) continue;
      chart.note += fmt::format(
          " {}: the loss of {} step{} is not a finite number, first of step {}.", runs_[r].name,
          format_count(int64_t(bad.size())), bad.size() == 1 ? "" : "s", bad.front());
    }
    return html_of(chart);
  }

  std::string validation() const {
    std::set<std::string> sets;
    for (const ReportedRun& run : runs_) {
      for (const auto& evaluation : run.history->evaluations) sets.insert(evaluation.set);
    }
    std::string html;
    for (const std::string& set : sets) {
      if (sets.size() > kMostSets && set == *std::next(sets.begin(), kMostSets)) break;
      Chart chart{.title = set.empty() ? "Validation loss" : "Validation loss: " + set,
                  .unit = "mean over the tokens to learn"};
      for (size_t r = 0; r < runs_.size(); ++r) {
        std::vector<Point> points;
        for (const auto& e : runs_[r].history->evaluations) {
          if (e.set == set && std::isfinite(e.loss)) points.push_back({double(e.step), e.loss});
        }
        chart.lines.push_back({runs_[r].name, r, Look::kDots, thinned(points, buckets_ / 4)});
      }
      html += html_of(chart);
    }
    return html;
  }

  std::string gradient_norm() const {
    Chart chart{.title = "Gradient norm", .unit = "before clipping", .from_zero = true};
    add_smoothed(chart, curves(Metric::kGradNorm));
    return html_of(chart);
  }

  std::string learning_rate() const {
    Chart chart{.title = "Learning rate", .from_zero = true};
    for (size_t r = 0; r < runs_.size(); ++r) add(chart, r, curve(r, Metric::kLearningRate));
    return html_of(chart);
  }

  std::string throughput() const {
    Chart chart{.title = "Throughput",
                .unit = "tokens per second",
                .values = Unit::kPerSecond,
                .from_zero = true};
    add_smoothed(chart, curves(Metric::kTokensPerSecond));
    return html_of(chart);
  }

  std::string memory() const {
    Chart chart{.title = "Memory", .values = Unit::kBytes, .from_zero = true};
    bool planned = false;
    for (size_t r = 0; r < runs_.size(); ++r) {
      const std::vector<Point> used = curve(r, Metric::kMemory);
      add(chart, r, used);
      const auto& record = runs_[r].history->record;
      if (used.empty() || !record || record->memory == 0) continue;
      planned = true;
      const double level = double(record->memory);
      chart.lines.push_back({runs_[r].name + ", planned",
                             r,
                             Look::kLimit,
                             {{used.front().x, level}, {used.back().x, level}}});
    }
    chart.unit = planned ? "in use; dotted: as planned" : "in use";
    return html_of(chart);
  }

  std::string waits() const {
    Chart chart{.title = "Waiting for layers",
                .unit = "share of a step",
                .values = Unit::kPercent,
                .from_zero = true};
    bool any = false;
    std::vector<std::vector<Point>> curves;
    for (size_t r = 0; r < runs_.size(); ++r) {
      const std::vector<double>& seconds = runs_[r].figures.step_seconds;
      std::vector<double> shares = runs_[r].history->of(Metric::kGatherWait);
      for (size_t i = 0; i < shares.size(); ++i) {
        any = any || shares[i] > 0;
        shares[i] /= seconds[i];
      }
      curves.push_back(curve_of(runs_[r].history->steps, shares));
    }
    add_smoothed(chart, curves);
    return any ? html_of(chart) : "";  // a rank alone waits for nothing
  }

 private:
  std::string html_of(Chart& chart) const {
    chart.first_step = first_step_;
    chart.last_step = last_step_;
    return chart_html(chart);
  }

  std::vector<Point> curve(size_t r, Metric metric) const {
    return curve_of(runs_[r].history->steps, runs_[r].history->of(metric));
  }

  std::vector<std::vector<Point>> curves(Metric metric) const {
    std::vector<std::vector<Point>> all;
    for (size_t r = 0; r < runs_.size(); ++r) all.push_back(curve(r, metric));
    return all;
  }

  void add(Chart& chart, size_t r, const std::vector<Point>& points, Look look = Look::kStrong,
           const char* suffix = "") const {
    chart.lines.push_back({runs_[r].name + suffix, r, look, thinned(points, buckets_)});
  }

  /// Single steps faint, their mean over them; outliers do not flatten the rest.
  void add_smoothed(Chart& chart, const std::vector<std::vector<Point>>& curves) const {
    double top = 0, most = 0, span = 0;
    for (size_t r = 0; r < runs_.size(); ++r) {
      const std::vector<Point>& points = curves[r];
      add(chart, r, points, Look::kFaint);
      span = std::max(span, runs_[r].figures.span);
      if (points.empty()) continue;
      top = std::max({top, kOutlier * quantile(points, 0.99), points.front().y});
      most = std::max(most, quantile(points, 1));
    }
    for (size_t r = 0; r < runs_.size(); ++r) {
      add(chart, r, smoothed(curves[r], runs_[r].figures.span), Look::kStrong, ", mean");
    }
    chart.note = fmt::format("Thin: single steps. Thick: their mean, which looks back {} steps.",
                             format_count(std::llround(span)));
    if (most <= top || top <= 0) return;
    chart.top = top;
    chart.note +=
        fmt::format(" Steps above the chart reach up to {}.", value_text(most, chart.values));
  }

  const std::vector<ReportedRun>& runs_;
  size_t buckets_;
  double first_step_ = 0, last_step_ = 1;  // of all charts, so that they lie under each other
};

}  // namespace

std::string run_charts_html(const std::vector<ReportedRun>& runs) {
  const Charts charts(runs);
  return charts.loss() + charts.validation() + charts.gradient_norm() + charts.learning_rate() +
         charts.throughput() + charts.memory() + charts.waits();
}

}  // namespace tessera::launch
