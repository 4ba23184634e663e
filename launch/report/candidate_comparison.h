// Which candidate of a search is taken, and what its figures can and cannot tell. All candidates
// are evaluated on the same samples, so that two of them are compared sample by sample: the
// differences scatter less than the losses do.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/report/candidate_result.h"

namespace tessera::launch {

struct ComparedCandidate {
  std::string name;
  /// Keys and values in which candidates differ; lora_r comes first where ranks are compared.
  std::vector<std::pair<std::string, std::string>> differs;
  CandidateResult result;
};

/// A mean over samples with its standard error, which is that of a ratio of sums over samples drawn
/// at random (Cochran, Sampling Techniques, 2.11): sqrt(n / (n - 1) * sum((y - mean * w)^2)) /
/// sum(w). Infinite for fewer than two samples.
struct Estimate {
  double mean = 0, error = 0;
};

/// The loss of a candidate, and how far that of `other` is above it. Both have the same samples.
Estimate loss_of(const CandidateResult& result);
Estimate gap_between(const CandidateResult& result, const CandidateResult& other);

struct Standing {
  Estimate loss;
  Estimate gap;         // above the best candidate
  bool within = false;  // the tolerance
};

struct Comparison {
  size_t best = 0;    // the lowest loss; of equal ones the fewest parameters
  size_t chosen = 0;  // within the tolerance the fewest parameters, then the lowest loss
  std::vector<Standing> standings = {};  // meaningless for candidates that diverged
  std::vector<std::string> remarks =
      {};  // what a user should know before he believes in the choice
};

/// `tolerance` is the share by which a loss may be above the best. Nothing where all candidates
/// diverged. A function of its arguments alone.
std::optional<Comparison> compare(const std::vector<ComparedCandidate>& candidates,
                                  double tolerance);

}  // namespace tessera::launch
