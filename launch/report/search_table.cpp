#include "launch/report/search_table.h"

#include <algorithm>
#include <cmath>

#include "launch/console/progress.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::ordered_json;

std::string text_of(const Estimate& estimate) {
  if (!std::isfinite(estimate.error)) return fmt::format("{:.4f}", estimate.mean);
  return fmt::format("{:.4f} ± {:.4f}", estimate.mean, estimate.error);
}

ordered_json finite(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json();
}

}  // namespace

std::string search_table(const std::vector<ComparedCandidate>& candidates,
                         const Comparison& comparison) {
  size_t width = std::string_view("candidate").size();
  for (const ComparedCandidate& candidate : candidates) {
    width = std::max(width, candidate.name.size());
  }
  std::string table = fmt::format("{:<{}}  {:>12}  {:>10}  {:>17}  {:>17}  {:>9}  {:>7}\n",
                                  "candidate", width, "parameters", "train loss", "validation loss",
                                  "above the best", "memory", "time");
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CandidateResult& result = candidates[i].result;
    if (!result.diverged.empty()) {
      table += fmt::format("{:<{}}  {:>12}  {:>10}\n", candidates[i].name, width,
                           format_count(result.parameters), "diverged");
      continue;
    }
    const Standing& standing = comparison.standings[i];
    const bool best = i == comparison.best, chosen = i == comparison.chosen;
    table += fmt::format("{:<{}}  {:>12}  {:>10.4f}  {:>17}  {:>17}  {:>9}  {:>7}{}\n",
                         candidates[i].name, width, format_count(result.parameters),
                         result.training_loss, text_of(standing.loss),
                         best ? "best" : text_of(standing.gap), format_bytes(result.memory),
                         format_duration(result.seconds), chosen ? "  chosen" : "");
  }
  return table;
}

std::string search_json(const std::vector<ComparedCandidate>& candidates,
                        const Comparison& comparison, double tolerance) {
  ordered_json all = {{"tolerance", tolerance},
                      {"best", candidates[comparison.best].name},
                      {"chosen", candidates[comparison.chosen].name},
                      {"remarks", comparison.remarks},
                      {"candidates", ordered_json::array()}};
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CandidateResult& result = candidates[i].result;
    ordered_json one = {{"name", candidates[i].name}};
    for (const auto& [key, value] : candidates[i].differs) one["values"][key] = value;
    one["step"] = result.step;
    one["parameters"] = result.parameters;
    if (!result.diverged.empty()) {
      one["diverged"] = result.diverged;
    } else {
      const Standing& standing = comparison.standings[i];
      one["train_loss"] = result.training_loss;
      one["loss"] = result.loss;
      one["loss_error"] = finite(standing.loss.error);
      one["gap"] = standing.gap.mean;
      one["gap_error"] = finite(standing.gap.error);
      one["within_tolerance"] = standing.within;
      one["memory"] = result.memory;
      one["seconds"] = result.seconds;
    }
    all["candidates"].push_back(std::move(one));
  }
  return io::json_text(all, 2) + "\n";
}

}  // namespace tessera::launch
