#include "launch/commands/data_summary.h"

#include <algorithm>
#include <array>
#include <span>

#include "runtime/core/error.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

int64_t size_of(const SampleList::Part& part) { return int64_t(part.end - part.begin); }

SetSummary summary_of(const DatasetReport& report, const DatasetConfig& dataset) {
  const DatasetCounts& counts = report.counts;
  SetSummary set;
  set.path = report.path;
  if (report.type) set.type = name_of(*report.type);
  set.weight = dataset.weight;
  set.rows = counts.rows;
  set.samples = counts.samples;
  set.tokens = counts.tokens;
  set.learned = counts.supervised;
  set.dropped_long = counts.dropped_long;
  set.truncated = counts.truncated;
  set.dropped_empty = counts.dropped_empty;
  set.cached_in = report.cached_in;
  set.notes = report.notes;
  return set;
}

std::vector<SetSummary> summaries_of_sets(const Config& config, const RunData& data) {
  std::vector<SetSummary> sets;
  for (size_t d = 0; d < config.datasets.size(); ++d) {
    SetSummary set = summary_of(data.reports[d], config.datasets[d]);
    if (config.val_set_size > 0) set.held_out = size_of(data.evaluation[0].samples.parts()[d]);
    sets.push_back(std::move(set));
  }
  for (size_t t = 0; t < config.test_datasets.size(); ++t) {
    SetSummary set = summary_of(data.reports[config.datasets.size() + t], config.test_datasets[t]);
    set.evaluated = true;
    sets.push_back(std::move(set));
  }
  return sets;
}

LengthHistogram lengths_of(const SampleList& samples) {
  std::vector<uint32_t> lengths(samples.size());
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = uint32_t(samples.length(i));
  return LengthHistogram(std::move(lengths));
}

/// Takes numbers one by one.
class SpreadOf {
 public:
  void add(int64_t n) {
    spread_.least = count_ == 0 ? n : std::min(spread_.least, n);
    spread_.most = std::max(spread_.most, n);
    sum_ += n;
    spread_.mean = double(sum_) / double(++count_);
  }
  const Spread& get() const { return spread_; }

 private:
  Spread spread_;
  int64_t sum_ = 0, count_ = 0;
};

StepsSummary steps_of(const Config& config, const RunData& data, int ranks) {
  const RunSteps steps(data.training, data.options, config.num_epochs,
                       config.max_steps.value_or(0));
  const Rows rows = epoch_rows(data.training, data.options, 0);
  // A step is of whole micro-batches but for the last of an epoch: they follow each other.
  SpreadOf samples, tokens;
  const size_t size = size_t(data.options.micro_batch_size);
  for (size_t begin = 0; begin < rows.size(); begin += size) {
    int64_t batch = 0;
    for (size_t r = begin; r < std::min(begin + size, rows.size()); ++r) {
      samples.add(int64_t(rows[r].size()));
      batch += row_tokens(data.training, rows[r]);
    }
    tokens.add(batch);
  }
  return {.steps = steps.steps(),
          .epochs = steps.epoch_after(steps.steps()),
          .ranks = ranks,
          .micro_batches = data.options.micro_batches,
          .micro_batch_size = data.options.micro_batch_size,
          .sequence_len = data.options.sequence_len,
          .packing = data.options.packing,
          .rows = int64_t(rows.size()),
          .filled = steps.packing_efficiency(),
          .row_samples = samples.get(),
          .batch_tokens = tokens.get(),
          .largest_batch = steps.max_tokens()};
}

/// Indices of samples, in order: one out of each of `count` stretches of all of them.
std::vector<int64_t> chosen_samples(int64_t total, const SampleChoice& choice, uint64_t seed) {
  if (choice.number) {
    if (*choice.number < 1 || *choice.number > total) {
      fail_usage("--sample {}: the samples to train on are numbered from 1 to {}", *choice.number,
                 total);
    }
    return {*choice.number - 1};
  }
  const int64_t count = std::min(choice.count, total);
  std::vector<int64_t> chosen;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t begin = total * k / count, end = total * (k + 1) / count;
    const std::array<uint64_t, 2> key = {seed, uint64_t(k)};
    const uint64_t random = io::hash_bytes(std::as_bytes(std::span(key)), 0);
    chosen.push_back(begin + int64_t(random % uint64_t(end - begin)));
  }
  return chosen;
}

bool ends_inside_a_character(const std::string& text) { return text.ends_with("\uFFFD"); }

/// Gives each token the characters that are whole after it, also where the decoder still keeps
/// them back.
class TokenTexts {
 public:
  explicit TokenTexts(const Tokenizer& tokenizer) : decoder_(tokenizer) {}

  std::string push(int32_t id) {
    std::string text = decoder_.push(id);
    leave_out_given(text);
    const std::string kept_back = StreamDecoder(decoder_).finish();
    if (!ends_inside_a_character(kept_back)) give(kept_back, text);
    return text;
  }
  std::string finish() {
    std::string text = decoder_.finish();
    leave_out_given(text);
    return text;
  }

 private:
  /// Of what the decoder is now sure of, the part that was given before.
  void leave_out_given(std::string& text) {
    const size_t common = std::min(text.size(), given_.size());
    if (given_.compare(0, common, text, 0, common) != 0) return given_.clear();
    text.erase(0, common);
    given_.erase(0, common);
  }
  void give(const std::string& kept_back, std::string& text) {
    if (!kept_back.starts_with(given_)) return;
    text += kept_back.substr(given_.size());
    given_ = kept_back;
  }

  StreamDecoder decoder_;
  std::string given_;  // what tokens were given of that which the decoder keeps back
};

/// Where no tokenizer has a text.
std::string id_text(int32_t id) { return fmt::format("⟨{}⟩", id); }

/// A token alone, of a label that is not the token at its place.
std::string text_alone(int32_t id, const Tokenizer* tokenizer) {
  if (!tokenizer || tokenizer->token(id).empty()) return id_text(id);
  return tokenizer->decode(std::span(&id, 1), /*skip_special=*/false);
}

}  // namespace

std::vector<SampleToken> describe_tokens(const Sample& sample, const Tokenizer* tokenizer) {
  std::vector<SampleToken> tokens(sample.ids.size());
  std::optional<TokenTexts> texts;
  if (tokenizer) texts.emplace(*tokenizer);
  SampleToken* last_text = nullptr;
  for (size_t i = 0; i < tokens.size(); ++i) {
    SampleToken& token = tokens[i];
    token.id = sample.ids[i];
    // Nothing predicts the first token.
    if (i > 0 && sample.labels[i] != Sample::kIgnore) token.label = sample.labels[i];
    if (token.learned() && token.label != token.id) {
      token.label_text = text_alone(token.label, tokenizer);
    }
    if (tokenizer) token.spelling = tokenizer->token(token.id);
    if (token.spelling.empty()) {
      token.text = id_text(token.id);
    } else if (tokenizer->is_special(token.id)) {
      token.special = true;
      token.text = token.spelling;
    } else {
      token.text = texts->push(token.id);
      last_text = &token;
    }
  }
  if (last_text) last_text->text += texts->finish();
  return tokens;
}

DataSummary summarize(const Config& config, const RunData& data, int ranks,
                      const SampleChoice& choice, const Tokenizer* tokenizer) {
  DataSummary summary;
  summary.sets = summaries_of_sets(config, data);
  summary.lengths = lengths_of(data.training);
  summary.steps = steps_of(config, data, ranks);
  for (const DatasetReport& report : data.reports) {
    for (const auto& [where, why] : report.lost) summary.lost.push_back({where, why});
  }
  const auto total = int64_t(data.training.size());
  for (const int64_t index : chosen_samples(total, choice, uint64_t(config.seed))) {
    const auto part =
        std::ranges::upper_bound(data.training.parts(), size_t(index), {}, &SampleList::Part::end);
    const auto d = size_t(part - data.training.parts().begin());
    summary.samples.push_back({.number = index + 1,
                               .path = data.reports[d].path,
                               .tokens = describe_tokens(data.training[size_t(index)], tokenizer)});
  }
  return summary;
}

}  // namespace tessera::launch
