// How a model does on each sample of a set, and what that comes to over the set. Samples are the
// same however they were put into batches and whichever rank computed them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/run_data.h"
#include "lora/decoder/evaluation_pass.h"
#include "parallel/communicator.h"

namespace tessera::launch {

struct SampleScore {
  int64_t sample = 0;   // its number in the set, from 0
  int64_t tokens = 0;   // supervised
  int64_t correct = 0;  // of these, tokens that are the most likely ones where they stand
  double losses = 0;    // the sum over the tokens, without weights
  double weight = 0;    // the sum of the tokens' weights
  double weighted = 0;  // the sum of their losses, each times its weight

  bool exact() const { return correct == tokens; }
};

/// Appends those of a batch of `samples`, which lie in it one after another.
void add_scores(std::vector<SampleScore>& scores, const lora::Batch& batch,
                std::span<const int32_t> samples, const lora::TokenScores& of_tokens);

/// Those of all ranks, which were dealt a set's batches as evaluate() deals them: in the order of
/// the samples. Collective.
std::vector<SampleScore> gather_scores(parallel::Communicator& world,
                                       const std::vector<SampleScore>& mine);

/// What samples come to together.
struct SetScore {
  int64_t samples = 0;  // with a supervised token
  int64_t tokens = 0;   // supervised
  int64_t correct = 0;
  int64_t exact = 0;  // samples of which every token is correct

  /// Shares, from 0 to 1; 0 of nothing.
  double token_accuracy() const { return tokens ? double(correct) / double(tokens) : 0; }
  double exact_match() const { return samples ? double(exact) / double(samples) : 0; }
};
SetScore sum_of(const std::vector<SampleScore>& scores);

/// A line of JSON for each, with its place in the data (docs/eval.md has the keys).
std::string describe_samples(const std::vector<SampleScore>& scores,
                             const RunData::EvaluationSet& set,
                             const std::vector<DatasetReport>& reports);

}  // namespace tessera::launch
