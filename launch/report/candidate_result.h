// What a candidate of a search has come to: result.json in its folder. docs/search.md has its keys.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

struct CandidateResult {
  /// Of a sample that it was evaluated on; sums over its supervised tokens.
  struct Sample {
    double losses = 0;  // each times its weight
    double weight = 0;

    bool operator==(const Sample&) const = default;
  };

  int64_t step = 0;  // after which it was evaluated
  /// Why there is no loss: it became infinite, or too high. Empty for all others.
  std::string diverged = {};
  double loss = 0;           // weighted mean over the supervised tokens
  double training_loss = 0;  // mean at the end
  int64_t parameters = 0;    // trained ones
  int64_t memory = 0;        // bytes that a rank had in use at most
  double seconds = 0;        // in steps
  std::vector<Sample> samples = {};
  /// What it was made from, flat: another run's result must not be taken for it.
  nlohmann::json identity = {};

  bool operator==(const CandidateResult&) const = default;
};

/// The content of the file; floats read back to the same bits.
std::string candidate_result_json(const CandidateResult& result);

/// Error, which names `source`, where `text` is no such content.
CandidateResult read_candidate_result(std::string_view text, const std::string& source);

}  // namespace tessera::launch
