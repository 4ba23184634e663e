// What the folder of a run tells about it: metrics.jsonl, and what else is there. A run may be
// going or have been killed, so that a last half line is normal. Any content is taken: what cannot
// be read is left out, and a note says so.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/report/run_record.h"
#include "launch/report/run_settings.h"

namespace tessera::launch {

/// What metrics.jsonl has of a step; see docs/formats.md.
enum class Metric {
  kLoss,
  kGradNorm,
  kLearningRate,
  kEpoch,
  kTokens,
  kTokensPerSecond,
  kMemory,
  kGatherWait
};
inline constexpr size_t kMetrics = 8;
/// The key in metrics.jsonl.
std::string_view key_of(Metric metric);

struct RunHistory {
  struct Evaluation {
    int64_t step = 0;
    std::string set;  // empty: the only one
    double loss = 0;  // or NaN
    int64_t tokens = 0;
  };
  /// Text that the model wrote while it was trained.
  struct Sample {
    int64_t step = 0;
    std::string prompt, text;
  };

  std::string folder;
  std::string name;           // for people: the last part of the path
  std::vector<double> steps;  // their numbers, rising; whole, a double for arithmetic's sake
  /// One value per step; NaN where the file has none, or one that is no number.
  std::array<std::vector<double>, kMetrics> values;
  std::vector<Evaluation> evaluations;
  std::vector<Sample> samples;
  std::vector<RunSetting> settings;
  std::optional<RunRecord> record;
  bool finished = false;
  std::string written;  // when metrics.jsonl changed last: "2026-11-30 02:03 UTC"
  std::vector<std::string> notes;

  const std::vector<double>& of(Metric metric) const { return values[size_t(metric)]; }
};

/// Reads the output folder of a run. Error where it is none, or where its files are larger than any
/// run writes.
RunHistory read_run(const std::string& folder);

}  // namespace tessera::launch
