#include "launch/run/run_data.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "launch/data/end_tokens.h"
#include "runtime/core/error.h"
#include "runtime/io/hash.h"

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
              .seed = uint64_t(config.seed)} {
  read(config, vocab, threads, console);
  // What a tokenizer of 262,144 tokens and the making of it took, 200 MB: malloc would keep it, in
  // pieces too small for a model's tensors.
  malloc_trim(0);
}

void RunData::read(const Config& config, int64_t vocab, int threads, Console& console) {
  console.live("reading and tokenizing the data sets");
  auto loaded = Attempt<Tokenizer>::of([&] { return Tokenizer::load(config.base_model); });
  if (loaded.error && !all_tokenized(config)) throw *loaded.error;
  const std::optional<Tokenizer>& tokenizer = loaded.value;
  if (tokenizer) tokenizer_files = tokenizer->files();
  Attempt<ChatTemplate> chat;
  if (tokenizer && may_hold(config, RowType::kChatTemplate))
    chat = chat_template(config, *tokenizer);
  Dataset data = load_datasets(
      config,
      {.tokenizer = tokenizer ? &*tokenizer : nullptr,
       .chat_template = chat.get(),
       .vocab = vocab,
       .threads = threads,
       .ends = tokenizer ? end_tokens(*tokenizer, config.base_model) : std::vector<int32_t>(),
       .no_tokenizer = loaded.error,
       .no_chat_template = chat.error});
  counts = data.counts;
  training = std::move(data.samples);
  validation = split_validation(training, config.val_set_size, uint64_t(config.seed));
  console.live("");
  if (tokenizer && !all_tokenized(config)) {
    for (const std::string& note : tokenizer->notes()) console.line("  " + note);
    if (!tokenizer->eos_id() && needs_end_of_text(data)) {
      console.line(
          "warning: neither the tokenizer nor the model's files name an end of text: "
          "nothing that is learned will end an answer");
    }
  }
  if (chat.value && chat.value->prints_time() && !std::getenv("SOURCE_DATE_EPOCH") &&
      data.types.contains(RowType::kChatTemplate)) {
    console.line(
        fmt::format("  the chat template prints the date; to resume this run on another day, set "
                    "SOURCE_DATE_EPOCH={}",
                    chat.value->time()));
  }
  for (const std::string& note : data.notes) console.line("  " + note);
}

uint64_t RunData::fingerprint() const {
  uint64_t hash = 0;
  for (const auto* set : {&training, &validation}) {
    for (const Sample& sample : *set) {
      hash = io::hash_bytes(std::as_bytes(std::span(sample.ids)), hash);
      hash = io::hash_bytes(std::as_bytes(std::span(sample.labels)), hash + sample.ids.size());
    }
  }
  return hash;
}

}  // namespace tessera::launch
