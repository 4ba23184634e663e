// What a run tells while it goes: lines on the console, and on rank 0 metrics.jsonl, samples.jsonl
// and TensorBoard's event file. A line that a full disk swallows is lost and does not end the run.
#pragma once

#include <optional>
#include <string>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "launch/report/tensorboard.h"
#include "launch/run/evaluate.h"
#include "launch/run/metrics.h"

namespace tessera::launch {

class RunLog {
 public:
  /// Both arguments outlive it. begin() comes first.
  RunLog(const Config& config, Console& console) : config_(config), console_(console) {}

  /// The run takes steps from `first_step` on, `total` in all, and this rank writes files if it
  /// `leads`. Error where they cannot be written.
  void begin(int64_t first_step, int64_t total, bool leads);

  void step(const StepMetrics& metrics);
  /// Of the only set if `set` is empty.
  void evaluation(int64_t step, const std::string& set, const std::string& shown,
                  const Evaluation& result);
  /// The answer to a prompt of sample_prompts; also a line of samples.jsonl.
  void sample(int64_t step, const std::string& prompt, const std::string& text);
  /// Whether an earlier start has told of it.
  bool has_evaluation(int64_t step, const std::string& set) const {
    return metrics_ && metrics_->evaluated(step, set);
  }
  bool has_samples(int64_t step) const { return samples_ && samples_->last_step() >= step; }
  /// What was done and measured since begin(), after `step` steps, of which `waited` seconds were
  /// spent waiting for layers.
  std::string summary(int64_t step, double waited) const;

 private:
  std::string describe(const StepMetrics& metrics, double eta) const;
  /// `written`: false where a line of the file is lost.
  void note_lost_line(const std::string& path, bool written);
  void to_board(std::string_view tag, int64_t step, double value);

  const Config& config_;
  Console& console_;
  std::optional<MetricsFile> metrics_, samples_;
  std::optional<TensorBoardFile> board_;
  std::optional<double> first_loss_, last_loss_;
  bool lines_lost_ = false;
  Stopwatch clock_;
  int64_t first_step_ = 0;
  int64_t total_ = 0;
};

}  // namespace tessera::launch
