// The figures that follow from the history of a run: what a report says first, and what its charts
// draw.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/report/curve.h"
#include "launch/report/run_history.h"

namespace tessera::launch {

struct RunFigures {
  explicit RunFigures(const RunHistory& run);

  int64_t last_step = 0;                       // 0: none is written
  double span = 0;                             // steps that the mean of the loss looks back
  std::optional<double> first_loss;            // of the first step that has one
  std::optional<double> last_loss;             // the mean at the end
  std::optional<RunHistory::Evaluation> best;  // the lowest loss
  std::optional<int64_t> tokens;               // trained on
  std::optional<double> tokens_per_second;     // the median over steps
  std::optional<int64_t> memory;               // bytes, the most
  std::optional<double> waited;                // share of the steps' time
  double seconds = 0;                          // in steps, without validation and checkpoints
  std::vector<double> step_seconds;            // NaN where not known
  /// Steps without a finite loss.
  std::vector<int64_t> not_finite;
};

/// exp(loss): "1.042"; empty where that is no finite number.
std::string perplexity_text(double loss);

/// "step 37 of 74, not finished; last written 2026-11-30 02:03 UTC"
std::string state_text(const RunHistory& run, const RunFigures& figures);

/// The runs as one JSON object; docs/report.md has its keys.
std::string report_json(const std::vector<RunHistory>& runs);

}  // namespace tessera::launch
