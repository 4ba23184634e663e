#include "launch/run/sample_scores.h"

#include <algorithm>

#include "parallel/gradient_tree.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

/// Whether each row of a data set became one sample, so that their numbers are the same.
bool rows_are_samples(const DatasetReport& report) {
  return report.counts.rows == report.counts.samples && report.counts.dropped() == 0;
}

}  // namespace

void add_scores(std::vector<SampleScore>& scores, const lora::Batch& batch,
                std::span<const int32_t> samples, const lora::TokenScores& of_tokens) {
  TESSERA_CHECK(batch.starts.size() == samples.size() + 1);
  TESSERA_CHECK(int64_t(of_tokens.guesses.size()) == batch.supervised());
  size_t token = 0;  // of the supervised ones
  for (size_t s = 0; s < samples.size(); ++s) {
    SampleScore score{.sample = samples[s]};
    for (auto i = size_t(batch.starts[s]); i < size_t(batch.starts[s + 1]); ++i) {
      if (batch.targets[i] == lora::Batch::kUnsupervised) continue;
      ++score.tokens;
      score.correct += of_tokens.guesses[token] == batch.targets[i];
      const double loss = double(of_tokens.losses[token]);
      const double weight = batch.weights.empty() ? 1.0 : double(batch.weights[i]);
      score.losses += loss;
      score.weight += weight;
      score.weighted += weight * loss;
      ++token;
    }
    scores.push_back(score);
  }
}

std::vector<SampleScore> gather_scores(parallel::Communicator& world,
                                       const std::vector<SampleScore>& mine) {
  const auto counts = parallel::gather_values(world, uint64_t(mine.size()));
  const size_t most = size_t(*std::ranges::max_element(counts));
  std::vector<SampleScore> padded = mine;
  padded.resize(most);
  const auto gathered = parallel::gather_values(world, std::span<const SampleScore>(padded));
  std::vector<SampleScore> all;
  for (size_t r = 0; r < counts.size(); ++r) {
    const auto begin = gathered.begin() + ptrdiff_t(r * most);
    all.insert(all.end(), begin, begin + ptrdiff_t(counts[r]));
  }
  return all;
}

SetScore sum_of(const std::vector<SampleScore>& scores) {
  SetScore sum;
  for (const SampleScore& score : scores) {
    if (score.tokens == 0) continue;
    ++sum.samples;
    sum.tokens += score.tokens;
    sum.correct += score.correct;
    sum.exact += score.exact();
  }
  return sum;
}

std::string describe_samples(const std::vector<SampleScore>& scores,
                             const RunData::EvaluationSet& set,
                             const std::vector<DatasetReport>& reports) {
  std::string lines;
  for (const SampleScore& score : scores) {
    const SampleList::Place place = set.samples.place(size_t(score.sample));
    const DatasetReport& report = reports[set.reports_from + place.part];
    nlohmann::ordered_json line = {{"set", set.name},
                                   {"sample", score.sample + 1},
                                   {"dataset", report.path},
                                   {"dataset_sample", place.number + 1}};
    if (rows_are_samples(report)) line["row"] = place.number + 1;
    const double tokens = double(std::max<int64_t>(score.tokens, 1));
    line["loss"] = score.losses / tokens;
    line["tokens"] = score.tokens;
    line["accuracy"] = double(score.correct) / tokens;
    line["exact"] = score.exact();
    lines += io::json_text(line) + "\n";
  }
  return lines;
}

}  // namespace tessera::launch
