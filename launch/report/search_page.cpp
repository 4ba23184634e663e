#include "launch/report/search_page.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "launch/console/progress.h"
#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/report/run_page_look.h"

namespace tessera::launch {
namespace {

using Look = ChartLine::Look;

/// Where the charts have a candidate: at its rank where ranks are compared, else at its number.
class Places {
 public:
  explicit Places(const std::vector<ComparedCandidate>& candidates) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto& differs = candidates[i].differs;
      by_rank_ = !differs.empty() && differs.front().first == "lora_r";
      at_.push_back(by_rank_ ? std::stod(differs.front().second) : double(i + 1));
      std::string rest;
      for (size_t k = by_rank_ ? 1 : 0; k < differs.size() && by_rank_; ++k) {
        rest +=
            fmt::format("{}{} {}", rest.empty() ? "" : ", ", differs[k].first, differs[k].second);
      }
      families_[rest].push_back(i);
    }
  }

  double of(size_t i) const { return at_[i]; }
  /// The candidates that make one line, by what they have in common.
  const std::map<std::string, std::vector<size_t>>& families() const { return families_; }
  Chart chart(const std::string& title, const std::string& unit) const {
    const auto [low, high] = std::ranges::minmax(at_);
    return {.title = title,
            .unit = unit,
            .across = by_rank_ ? "rank" : "line of the table",
            .first_step = low,
            .last_step = high,
            .doublings = by_rank_,
            .wide = true};
  }

 private:
  bool by_rank_ = false;
  std::vector<double> at_;
  std::map<std::string, std::vector<size_t>> families_;
};

std::string charts(const std::vector<ComparedCandidate>& candidates, const Comparison& comparison) {
  const Places places(candidates);
  Chart validation = places.chart("Validation loss", "mean, with its standard error");
  Chart training = places.chart("Training loss", "mean at the end");
  size_t colour = 0;
  std::vector<std::string> names;
  for (const auto& [name, family] : places.families()) {
    ChartLine loss{.name = "validation loss" + (name.empty() ? "" : ", " + name),
                   .colour = colour % kMostRuns,
                   .look = Look::kDots};
    ChartLine trained = loss;
    trained.name = "training loss" + (name.empty() ? "" : ", " + name);
    for (const size_t i : family) {
      const CandidateResult& result = candidates[i].result;
      if (!result.diverged.empty()) continue;
      const double at = places.of(i);
      const Estimate& estimate = comparison.standings[i].loss;
      loss.points.push_back({at, estimate.mean});
      trained.points.push_back({at, result.training_loss});
      if (!std::isfinite(estimate.error)) continue;
      validation.lines.push_back(
          {.name = "standard error",
           .colour = loss.colour,
           .look = Look::kFaint,
           .points = {{at, estimate.mean - estimate.error}, {at, estimate.mean + estimate.error}}});
    }
    validation.lines.push_back(std::move(loss));
    training.lines.push_back(std::move(trained));
    if (names.size() < kMostRuns) names.push_back(name);
    ++colour;
  }
  return legend_html(names) + "<div class=\"charts\">\n" + chart_html(validation) +
         chart_html(training) + "</div>\n";
}

std::string cell(const std::string& text, bool strong = false) {
  return fmt::format("<td class=\"number{}\">{}</td>", strong ? " best" : "", escaped(text));
}

std::string with_error(const Estimate& estimate) {
  if (!std::isfinite(estimate.error)) return fmt::format("{:.4f}", estimate.mean);
  return fmt::format("{:.4f} ± {:.4f}", estimate.mean, estimate.error);
}

std::string table(const std::vector<ComparedCandidate>& candidates, const Comparison& comparison) {
  std::string html =
      "<div class=\"scroll\"><table>\n<tr><th>candidate</th><th>trained parameters</th>"
      "<th>training loss</th><th>validation loss</th><th>above the best</th><th>memory</th>"
      "<th>time</th></tr>\n";
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CandidateResult& result = candidates[i].result;
    const bool chosen = i == comparison.chosen;
    html += fmt::format("<tr><td class=\"name{}\">{}{}</td>{}", chosen ? " best" : "",
                        escaped(candidates[i].name), chosen ? ", chosen" : "",
                        cell(format_count(result.parameters)));
    if (!result.diverged.empty()) {
      html += "<td colspan=\"5\">diverged</td></tr>\n";
      continue;
    }
    const Standing& standing = comparison.standings[i];
    const bool best = i == comparison.best;
    html += cell(fmt::format("{:.4f}", result.training_loss)) +
            cell(with_error(standing.loss), best) + cell(best ? "" : with_error(standing.gap)) +
            cell(format_bytes(result.memory)) + cell(format_duration(result.seconds)) + "</tr>\n";
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string search_page_html(const std::vector<ComparedCandidate>& candidates,
                             const Comparison& comparison, double tolerance,
                             const std::string& folder) {
  std::string page = page_head("Search in " + folder);
  page += fmt::format(
      "<body>\n<header><h1>Search</h1>\n<p class=\"soft\">{}</p></header>\n<h2>Candidates</h2>\n"
      "<p>Chosen is <b>{}</b>: of the candidates whose loss is at most {:g} % above the best, the "
      "one with the fewest parameters.</p>\n",
      escaped(folder), escaped(candidates[comparison.chosen].name), 100 * tolerance);
  page += table(candidates, comparison);
  for (const std::string& remark : comparison.remarks) {
    page += fmt::format("<p>Note: {}.</p>\n", escaped(remark));
  }
  return page + "<h2>Losses</h2>\n" + charts(candidates, comparison) + page_end();
}

}  // namespace tessera::launch
