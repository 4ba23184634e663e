#include "launch/run/run_data.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "launch/data/end_tokens.h"
#include "launch/data/special_tokens.h"
#include "launch/machine/freed_memory.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

bool all_tokenized(const Config& config) {
  return std::all_of(config.datasets.begin(), config.datasets.end(),
                     [](const DatasetConfig& d) { return d.type == RowType::kTokenized; });
}

/// What only some rows need, or why it is not there.
template <class T>
struct Attempt {
  std::optional<T> value;
  std::optional<Error> error;

  template <class Load>
  static Attempt of(Load load) {
    try {
      return {load(), std::nullopt};
    } catch (const Error& error) {
      return {std::nullopt, error};
    }
  }
  const T* get() const { return value ? &*value : nullptr; }
};

bool has_type(const Config& config, RowType type) {
  return std::ranges::count(config.datasets, type, &DatasetConfig::type) > 0;
}

Attempt<ChatTemplate> chat_template(const Config& config, const Tokenizer& tokenizer) {
  auto chat = Attempt<ChatTemplate>::of([&] {
    return ChatTemplate::resolve(config.chat_template, tokenizer, config.chat_template_kwargs);
  });
  // Certainly needed: then the error comes before the files are read.
  if (chat.error && has_type(config, RowType::kChatTemplate)) throw *chat.error;
  return chat;
}

/// The name of the set that val_set_size holds out.
constexpr const char* kValidation = "validation";

/// Conversations end as their template has it, tokenized rows as they are.
bool needs_end_of_text(const Dataset& data) {
  return std::ranges::any_of(data.types, [](RowType type) {
    return type != RowType::kChatTemplate && type != RowType::kTokenized;
  });
}

}  // namespace

RunData::RunData(const Config& config, int64_t vocab, int ranks, int threads, Console& console)
    : options{.sequence_len = config.sequence_len,
              .micro_batch_size = *config.micro_batch_size,
              .micro_batches = micro_batches_per_step(config, ranks),
              .packing = config.sample_packing,
              .shuffle = config.shuffle,
              .seed = uint64_t(config.seed),
              .group_by_length = config.group_by_length} {
  read(config, vocab, threads, console);
  const bool asked =
      config.early_stopping_patience || config.load_best_model_at_end.value_or(false);
  if (asked && !evaluation.empty()) judged = judged_by(config);
  // What a tokenizer of 262,144 tokens and the making of it took, 200 MB: malloc would keep it, in
  // pieces too small for a model's tensors.
  return_freed_memory();
}

void RunData::read(const Config& config, int64_t vocab, int threads, Console& console) {
  console.live("reading and tokenizing the data sets");
  auto loaded = Attempt<Tokenizer>::of([&] { return Tokenizer::load(config.model()); });
  if (loaded.error && !all_tokenized(config)) throw *loaded.error;
  const std::optional<Tokenizer>& tokenizer = loaded.value;
  if (tokenizer) tokenizer_files = tokenizer->files();
  if (tokenizer) require_special_tokens(config, *tokenizer);
  Attempt<ChatTemplate> chat;
  if (tokenizer && may_hold(config, RowType::kChatTemplate))
    chat = chat_template(config, *tokenizer);
  const RowEncoder encoder = {
      .tokenizer = tokenizer ? &*tokenizer : nullptr,
      .chat_template = chat.get(),
      .vocab = vocab,
      .threads = threads,
      .ends = tokenizer ? end_tokens(*tokenizer, config.model()) : std::vector<int32_t>(),
      .no_tokenizer = loaded.error,
      .no_chat_template = chat.error};
  Dataset data = load_datasets(config, config.datasets, encoder, &console);
  counts = data.counts;
  training = std::move(data.samples);
  reports = std::move(data.reports);
  take_evaluation_sets(config, encoder, console);
  console.live("");
  if (tokenizer && !all_tokenized(config)) {
    for (const std::string& note : tokenizer->notes()) notes.push_back("  " + note);
    if (!tokenizer->eos_id() && needs_end_of_text(data)) {
      notes.push_back(
          "warning: neither the tokenizer nor the model's files name an end of text: "
          "nothing that is learned will end an answer");
    }
  }
  if (chat.value && chat.value->prints_time() && !std::getenv("SOURCE_DATE_EPOCH") &&
      data.types.contains(RowType::kChatTemplate)) {
    notes.push_back(
        fmt::format("  the chat template prints the date; to resume this run on another day, set "
                    "SOURCE_DATE_EPOCH={}",
                    chat.value->time()));
  }
}

void RunData::take_evaluation_sets(const Config& config, const RowEncoder& encoder,
                                   Console& console) {
  if (config.val_set_size > 0) {
    const auto held = held_out(training.size(), config.val_set_size, uint64_t(config.seed));
    auto [validation, rest] = training.split(held);
    training = std::move(rest);
    evaluation.push_back({kValidation, std::move(validation)});
  }
  for (const DatasetConfig& dataset : config.test_datasets) {
    Dataset data = load_datasets(config, {dataset}, encoder, &console);
    const size_t report = reports.size();
    reports.push_back(std::move(data.reports.front()));
    const std::string stem = std::filesystem::path(dataset.path).stem().string();
    std::string name = stem;
    const auto same = [&](const EvaluationSet& set) { return set.name == name; };
    for (int n = 2; std::ranges::any_of(evaluation, same); ++n) {
      name = fmt::format("{}-{}", stem, n);
    }
    evaluation.push_back({std::move(name), std::move(data.samples), report});
  }
}

size_t RunData::judged_by(const Config& config) const {
  // transformers puts eval_ before the name of a metric that lacks it.
  const std::string& metric = config.metric_for_best_model;
  const std::string whole = metric.starts_with("eval_") ? metric : "eval_" + metric;
  std::vector<std::string> known;
  for (size_t i = 0; i < evaluation.size(); ++i) {
    known.push_back(evaluation.size() == 1 ? "loss"
                                           : fmt::format("eval_{}_loss", evaluation[i].name));
    if (whole == known.back() || whole == "eval_" + known.back()) return i;
  }
  fail_usage("{}: metric_for_best_model: {} is not measured; choose {}", config.source,
             io::printable(metric), fmt::join(known, " or "));
}

std::vector<RunData::EvaluationSet> RunData::sets_to_evaluate() const {
  if (!evaluation.empty()) return evaluation;
  return {{"all", training}};
}

void RunData::print_notes(Console& console) const {
  for (const std::string& note : notes) console.line(note);
  for (const DatasetReport& report : reports) {
    for (const std::string& note : report.notes) console.line("  " + note);
  }
}

std::string RunData::describe_evaluation(std::string_view rows) const {
  std::vector<std::string> texts;
  for (const EvaluationSet& set : evaluation) {
    const std::string where = set.name == kValidation ? "held out" : "in " + set.name;
    const size_t count = set.samples.size();
    const std::string_view unit =
        count == 1 && rows.ends_with('s') ? rows.substr(0, rows.size() - 1) : rows;
    texts.push_back(fmt::format("{}{} {}", format_count(int64_t(count)), unit, where));
  }
  return texts.empty() ? "0 held out" : fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace tessera::launch
