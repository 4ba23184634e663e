// metrics.jsonl: one JSON object per step, floats printed so that they read back to the same bits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "runtime/io/append_file.h"

namespace tessera::launch {

struct StepMetrics {
  int64_t step;  // from 1
  double epoch;
  double loss;  // mean over the supervised tokens of the step
  double grad_norm;
  double learning_rate;
  int64_t tokens;  // trained on so far
  double tokens_per_second;
  int64_t memory;      // see used_memory()
  double gather_wait;  // seconds of the step in which layers were waited for
};

/// As a line of the file.
nlohmann::ordered_json to_json(const StepMetrics& metrics);

class MetricsFile {
 public:
  /// Opens output_dir/metrics.jsonl. Lines of steps after `resumed_step` (a run that went further
  /// than its last checkpoint) are dropped; 0 starts an empty file.
  MetricsFile(const std::string& path, int64_t resumed_step);

  const std::string& path() const { return file_.path(); }

  /// Both: false where the line could not be written (a full disk). Then it is lost, and the file
  /// is as it was before: that must not end a run.
  bool write(const StepMetrics& metrics);
  /// `set` names what was evaluated on, where there are several.
  bool write_evaluation(int64_t step, const std::string& set, double loss, int64_t tokens);
  /// A line that has "step". False as above.
  bool write_line(const nlohmann::ordered_json& line);
  /// Of the last line that an earlier start has left; 0 where there is none.
  int64_t last_step() const { return last_step_; }
  /// Whether the file has the evaluation of `set` after `step`.
  bool evaluated(int64_t step, const std::string& set) const {
    return evaluated_.contains({step, set});
  }

 private:
  std::string kept_lines(const std::string& path, int64_t last_step);
  io::AppendFile begin(const std::string& path, int64_t resumed_step);

  int64_t last_step_ = 0;
  std::set<std::pair<int64_t, std::string>> evaluated_;
  io::AppendFile file_;  // last: what is kept of an older one sets the others
};

}  // namespace tessera::launch
