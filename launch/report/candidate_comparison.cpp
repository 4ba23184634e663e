#include "launch/report/candidate_comparison.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using Sample = CandidateResult::Sample;

/// A difference is told from chance where it is larger than so many standard errors: 95 % of normal
/// ones are within two.
constexpr double kErrors = 2;

Estimate estimate(const std::vector<Sample>& samples) {
  double sum = 0, weight = 0;
  for (const Sample& sample : samples) {
    sum += sample.losses;
    weight += sample.weight;
  }
  const double mean = weight > 0 ? sum / weight : 0;
  const auto n = double(samples.size());
  if (n < 2 || weight <= 0) return {mean, std::numeric_limits<double>::infinity()};
  double squares = 0;
  for (const Sample& sample : samples) {
    const double off = sample.losses - mean * sample.weight;
    squares += off * off;
  }
  return {mean, std::sqrt(n / (n - 1) * squares) / weight};
}

bool differ(const Estimate& gap) { return std::abs(gap.mean) > kErrors * gap.error; }

/// The settings but the rank, by which candidates that differ in rank alone belong together.
std::string family_of(const ComparedCandidate& candidate) {
  std::string family;
  for (const auto& [key, value] : candidate.differs) {
    if (key != "lora_r") family += fmt::format("{}{}={}", family.empty() ? "" : ", ", key, value);
  }
  return family;
}

const std::string* rank_of(const ComparedCandidate& candidate) {
  for (const auto& [key, value] : candidate.differs) {
    if (key == "lora_r") return &value;
  }
  return nullptr;
}

using Family = std::vector<const ComparedCandidate*>;

/// Where more rank lowers the loss of training and raises that of validation. `family` is in the
/// order of ranks. Empty where that is not so.
std::string overfitting(const std::string& name, const Family& family) {
  const ComparedCandidate* best = nullptr;
  for (const ComparedCandidate* candidate : family) {
    if (!best || candidate->result.loss < best->result.loss) best = candidate;
  }
  const ComparedCandidate& last = *family.back();
  const Estimate gap = gap_between(best->result, last.result);
  const bool learns_more = last.result.training_loss < best->result.training_loss;
  if (&last == best || !learns_more || !(gap.mean > 0) || !differ(gap)) return {};
  return fmt::format(
      "{}from rank {} to {} the validation loss rises ({:.4f} to {:.4f}) while the training loss "
      "falls ({:.4f} to {:.4f}): the larger adapters learn the training data by heart",
      name.empty() ? "" : name + ": ", *rank_of(*best), *rank_of(last), best->result.loss,
      last.result.loss, best->result.training_loss, last.result.training_loss);
}

/// What the samples are too few to tell. Empty where they tell all that matters.
std::string noise(const std::vector<ComparedCandidate>& candidates, const Comparison& comparison) {
  const ComparedCandidate& best = candidates[comparison.best];
  const ComparedCandidate* smallest = nullptr;  // of those that may be as good as the best
  size_t others = 0, alike = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CandidateResult& result = candidates[i].result;
    if (i == comparison.best || !result.diverged.empty()) continue;
    ++others;
    if (differ(comparison.standings[i].gap)) continue;
    ++alike;
    if (!smallest || result.parameters < smallest->result.parameters) smallest = &candidates[i];
  }
  if (others > 0 && alike == others) {
    return fmt::format(
        "no candidate differs from the best one by more than twice the standard error of the "
        "difference: {} samples cannot tell them apart; validate on more rows, or raise "
        "search_steps",
        best.result.samples.size());
  }
  const CandidateResult& chosen = candidates[comparison.chosen].result;
  if (!smallest || smallest->result.parameters >= chosen.parameters) return {};
  return fmt::format(
      "{} may be as good as {}: the difference is less than twice its standard error; validate on "
      "more rows than these {} to know",
      smallest->name, best.name, best.result.samples.size());
}

void add_remarks(const std::vector<ComparedCandidate>& candidates, Comparison& comparison) {
  const auto add = [&](std::string remark) {
    if (!remark.empty()) comparison.remarks.push_back(std::move(remark));
  };
  std::map<std::string, Family> families;
  for (const ComparedCandidate& candidate : candidates) {
    if (!candidate.result.diverged.empty()) {
      add(fmt::format("{} diverged: {}", candidate.name, candidate.result.diverged));
    } else if (rank_of(candidate)) {
      families[family_of(candidate)].push_back(&candidate);
    }
  }
  add(noise(candidates, comparison));
  for (const auto& [name, family] : families) add(overfitting(name, family));
}

}  // namespace

Estimate loss_of(const CandidateResult& result) {
  return {result.loss, estimate(result.samples).error};
}

Estimate gap_between(const CandidateResult& result, const CandidateResult& other) {
  TESSERA_CHECK(result.samples.size() == other.samples.size());
  std::vector<Sample> gaps = other.samples;
  for (size_t i = 0; i < gaps.size(); ++i) gaps[i].losses -= result.samples[i].losses;
  return {other.loss - result.loss, estimate(gaps).error};
}

std::optional<Comparison> compare(const std::vector<ComparedCandidate>& candidates,
                                  double tolerance) {
  std::optional<size_t> best, chosen;
  const auto by_loss = [&](size_t i) {
    return std::tuple(candidates[i].result.loss, candidates[i].result.parameters);
  };
  const auto by_size = [&](size_t i) {
    return std::tuple(candidates[i].result.parameters, candidates[i].result.loss);
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i].result.diverged.empty()) continue;
    if (!best || by_loss(i) < by_loss(*best)) best = i;
  }
  if (!best) return std::nullopt;
  Comparison comparison{.best = *best};
  comparison.standings.resize(candidates.size());
  const CandidateResult& lowest = candidates[*best].result;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CandidateResult& result = candidates[i].result;
    if (!result.diverged.empty()) continue;
    comparison.standings[i] = {.loss = loss_of(result),
                               .gap = gap_between(lowest, result),
                               .within = result.loss <= lowest.loss * (1 + tolerance)};
    if (!comparison.standings[i].within) continue;
    if (!chosen || by_size(i) < by_size(*chosen)) chosen = i;
  }
  comparison.chosen = *chosen;
  add_remarks(candidates, comparison);
  return comparison;
}

}  // namespace tessera::launch
