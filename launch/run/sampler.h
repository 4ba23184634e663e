// Chooses the next token from its logits: the most likely one, or drawn at random.
// A draw is a pure function of (seed, sequence, position), so it depends neither on what else is
// generated at the same time nor on how many steps were taken before.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::launch {

struct SamplerOptions {
  double temperature = 0;  // logits are divided by it; 0: always the most likely token
  double top_p = 1;        // keeps the fewest likely tokens that together have this probability
  int64_t top_k = 0;       // keeps the k most likely tokens; 0: all
  uint64_t seed = 42;
};

/// Error (usage) naming the option unless temperature is finite and at least 0, 0 < top_p <= 1 and
/// top_k >= 0.
void check_sampler_options(const SamplerOptions& options);

class Sampler {
 public:
  /// Error as check_sampler_options().
  explicit Sampler(const SamplerOptions& options);

  /// The token that follows, one of logits[V]. Of equal logits the lowest id counts as the most
  /// likely. top_k is applied before top_p, as transformers does. Error when a logit is not finite.
  int32_t pick(std::span<const float> logits, uint64_t sequence, uint64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  /// Leaves in candidates_ what top_k and top_p keep, with running sums of their weights.
  void keep_likely(std::span<const float> logits);

  SamplerOptions options_;
  std::vector<Candidate> candidates_;
  std::vector<double> cumulative_;
};

}  // namespace tessera::launch
