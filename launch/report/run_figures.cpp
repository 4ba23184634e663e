#include "launch/report/run_figures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "launch/console/progress.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using Json = nlohmann::ordered_json;

/// The mean looks back over a thirtieth of the run, and at least as many steps.
constexpr double kLeastSpan = 5, kSpansOfRun = 30;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

/// The seconds of each step, from its tokens and their rate.
std::vector<double> seconds_of_steps(const RunHistory& run) {
  const std::vector<double>& tokens = run.of(Metric::kTokens);
  const std::vector<double>& rates = run.of(Metric::kTokensPerSecond);
  std::vector<double> seconds;
  for (size_t i = 0; i < tokens.size(); ++i) {
    // A file that begins later says nothing of the tokens of its first step.
    const double before = i > 0 ? tokens[i - 1] : run.steps[0] == 1 ? 0 : tokens[0];
    const double trained = tokens[i] - before;
    const bool known = trained > 0 && rates[i] > 0;
    seconds.push_back(known ? trained / rates[i] : std::numeric_limits<double>::quiet_NaN());
  }
  return seconds;
}

Json to_json(const RunHistory& run) {
  const RunFigures f(run);
  Json evaluations = Json::array(), settings = Json::object();
  for (const RunHistory::Evaluation& e : run.evaluations) {
    evaluations.push_back({{"step", e.step},
                           {"set", e.set.empty() ? Json() : Json(e.set)},
                           {"loss", std::isfinite(e.loss) ? Json(e.loss) : Json()},
                           {"tokens", e.tokens}});
  }
  for (const RunSetting& setting : run.settings) settings[setting.key] = setting.value;
  const bool planned = run.record && run.record->memory > 0;
  return {{"folder", run.folder},
          {"finished", run.finished},
          {"step", f.last_step},
          {"steps", run.record && run.record->steps > 0 ? Json(run.record->steps) : Json()},
          {"first_loss", or_null(f.first_loss)},
          {"last_loss", or_null(f.last_loss)},
          {"not_finite", f.not_finite},
          {"evaluations", std::move(evaluations)},
          {"tokens", or_null(f.tokens)},
          {"tokens_per_second", or_null(f.tokens_per_second)},
          {"seconds", f.seconds},
          {"waited", or_null(f.waited)},
          {"memory", or_null(f.memory)},
          {"planned_memory", planned ? Json(run.record->memory) : Json()},
          {"settings", std::move(settings)},
          {"notes", run.notes}};
}

}  // namespace

RunFigures::RunFigures(const RunHistory& run) : step_seconds(seconds_of_steps(run)) {
  if (!run.steps.empty()) last_step = int64_t(run.steps.back());
  for (const auto& evaluation : run.evaluations) {
    last_step = std::max(last_step, evaluation.step);
    if (std::isfinite(evaluation.loss) && (!best || evaluation.loss < best->loss)) {
      best = evaluation;
    }
  }
  const auto curve = [&](Metric metric) { return curve_of(run.steps, run.of(metric)); };
  const std::vector<Point> loss = curve(Metric::kLoss);
  span = std::max(kLeastSpan, std::round(double(run.steps.size()) / kSpansOfRun));
  if (!loss.empty()) {
    first_loss = loss.front().y;
    last_loss = smoothed(loss, span).back().y;
  }
  for (size_t i = 0; i < run.steps.size(); ++i) {
    if (!std::isfinite(run.of(Metric::kLoss)[i])) not_finite.push_back(int64_t(run.steps[i]));
  }
  if (const auto counts = curve(Metric::kTokens); !counts.empty()) {
    tokens = int64_t(std::clamp(counts.back().y, 0.0, 1e18));
  }
  const std::vector<Point> rates = curve(Metric::kTokensPerSecond);
  if (!rates.empty()) tokens_per_second = quantile(rates, 0.5);
  const std::vector<Point> bytes = curve(Metric::kMemory);
  if (!bytes.empty()) memory = int64_t(std::clamp(quantile(bytes, 1), 0.0, 1e18));
  double waits = 0;
  for (size_t i = 0; i < step_seconds.size(); ++i) {
    const double wait = run.of(Metric::kGatherWait)[i];
    if (!std::isfinite(step_seconds[i])) continue;
    seconds += step_seconds[i];
    if (std::isfinite(wait)) waits += wait;
  }
  if (seconds > 0 && !curve(Metric::kGatherWait).empty()) waited = waits / seconds;
}

std::string perplexity_text(double loss) {
  const double perplexity = std::exp(loss);
  return std::isfinite(perplexity) ? fmt::format("{:.4g}", perplexity) : "";
}

std::string state_text(const RunHistory& run, const RunFigures& figures) {
  std::string text = fmt::format("step {}", format_count(figures.last_step));
  if (figures.last_step == 0) text = "no step is written yet";
  if (run.record && run.record->steps > 0) {
    text += fmt::format(" of {}", format_count(run.record->steps));
  }
  if (run.finished) return text + ", finished";
  return fmt::format("{}, not finished; last written {}", text, run.written);
}

std::string report_json(const std::vector<RunHistory>& runs) {
  Json all = Json::array(), differences = Json::object();
  std::vector<const std::vector<RunSetting>*> settings;
  for (const RunHistory& run : runs) {
    all.push_back(to_json(run));
    settings.push_back(&run.settings);
  }
  for (const SettingDifference& difference : setting_differences(settings)) {
    differences[difference.key] = difference.values;
  }
  const Json root = {{"runs", std::move(all)}, {"differences", std::move(differences)}};
  return io::json_text(root, 2) + "\n";
}

}  // namespace tessera::launch
