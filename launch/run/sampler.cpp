#include "launch/run/sampler.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/det_math.h"
#include "runtime/core/error.h"
#include "runtime/core/philox.h"

namespace tessera::launch {
namespace {

/// The first of the largest, as torch.argmax gives it.
int32_t most_likely(std::span<const float> logits) {
  return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// In [0, 1), 53 bits.
double uniform(uint64_t seed, uint64_t sequence, uint64_t position) {
  const PhiloxCounter random = philox({{uint32_t(position), uint32_t(position >> 32),
                                        uint32_t(sequence), uint32_t(sequence >> 32)}},
                                      {{uint32_t(seed), uint32_t(seed >> 32)}});
  return double((uint64_t{random.word[0]} << 32 | random.word[1]) >> 11) * 0x1p-53;
}

}  // namespace

void check_sampler_options(const SamplerOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    fail_usage("--temperature is {}, expected 0 (always the most likely token) or a number above",
               options.temperature);
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    fail_usage("--top_p is {}, expected a number above 0 and up to 1 (all tokens)", options.top_p);
  }
  if (options.top_k < 0) {
    fail_usage("--top_k is {}, expected 0 (all tokens) or a positive number", options.top_k);
  }
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  check_sampler_options(options);
}

int32_t Sampler::pick(std::span<const float> logits, uint64_t sequence, uint64_t position) {
  const auto bad =
      std::find_if(logits.begin(), logits.end(), [](float x) { return !(x - x == 0); });
  if (bad != logits.end()) {
    fail("the model gives token {} the score {} at position {}; is the checkpoint damaged?",
         bad - logits.begin(), *bad, position);
  }
  if (options_.temperature == 0) return most_likely(logits);
  keep_likely(logits);
  const double target = uniform(options_.seed, sequence, position) * cumulative_.back();
  const auto place = std::upper_bound(cumulative_.begin(), cumulative_.end(), target);
  const auto last = std::ptrdiff_t(cumulative_.size()) - 1;
  return candidates_[size_t(std::min(place - cumulative_.begin(), last))].id;
}

void Sampler::keep_likely(std::span<const float> logits) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) candidates_.push_back({logits[i], int32_t(i)});
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  if (options_.top_k > 0 && options_.top_k < int64_t(candidates_.size())) {
    const auto end = candidates_.begin() + options_.top_k;
    std::nth_element(candidates_.begin(), end - 1, candidates_.end(), likelier);
    candidates_.erase(end, candidates_.end());
  }
  if (options_.top_p < 1) std::sort(candidates_.begin(), candidates_.end(), likelier);

  const double largest = logits[size_t(most_likely(logits))];
  double sum = 0;
  cumulative_.clear();
  for (const Candidate& candidate : candidates_) {
    sum += det_exp((double(candidate.logit) - largest) / options_.temperature);
    cumulative_.push_back(sum);
  }
  if (options_.top_p < 1) {
    const auto enough =
        std::lower_bound(cumulative_.begin(), cumulative_.end(), options_.top_p * sum);
    cumulative_.erase(std::min(enough, cumulative_.end() - 1) + 1, cumulative_.end());
  }
}

}  // namespace tessera::launch
