// metrics.jsonl: one JSON object a step, floats printed so that they read back to the same bits.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

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

class MetricsFile {
 public:
  /// Opens output_dir/metrics.jsonl. Lines of steps after `resumed_step` (a run that went further
  /// than its last checkpoint) are dropped; 0 starts an empty file.
  MetricsFile(const std::string& path, int64_t resumed_step);

  void write(const StepMetrics& metrics);
  void write_evaluation(int64_t step, double loss, int64_t tokens);

 private:
  void write_line(const nlohmann::ordered_json& line);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// Peak resident memory of this process in bytes (VmHWM).
int64_t peak_resident_bytes();
/// Memory that the system could still give, in bytes (MemAvailable).
int64_t available_bytes();

}  // namespace tessera::launch
