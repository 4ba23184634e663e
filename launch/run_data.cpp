#include "launch/run_data.h"

#include <algorithm>

#include "runtime/core/error.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

bool all_tokenized(const Config& config) {
  return std::all_of(config.datasets.begin(), config.datasets.end(),
                     [](const DatasetConfig& d) { return d.type == "tokenized"; });
}

/// What only matters to some rows may be absent where no row needs it.
template <class Load>
auto load_if_needed(bool certainly_needed, Load load) -> std::optional<decltype(load())> {
  try {
    return load();
  } catch (const Error&) {
    if (certainly_needed) throw;
    return std::nullopt;
  }
}

std::optional<ChatTemplate> chat_template(const Config& config,
                                          const std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer || !may_hold(config, "chat_template")) return std::nullopt;
  const bool needed = std::any_of(config.datasets.begin(), config.datasets.end(),
                                  [](const auto& d) { return d.type == "chat_template"; });
  return load_if_needed(needed,
                        [&] { return ChatTemplate::resolve(config.chat_template, *tokenizer); });
}

}  // namespace

int64_t micro_batches_per_step(const Config& config, int ranks) {
  const int64_t rows = *config.micro_batch_size;
  return config.global_batch_size ? *config.global_batch_size / rows
                                  : config.gradient_accumulation_steps * ranks;
}

RunData::RunData(const Config& config, int64_t vocab, int ranks, Console& console)
    : tokenizer(load_if_needed(!all_tokenized(config),
                               [&] { return Tokenizer::load(config.base_model); })),
      options{.sequence_len = config.sequence_len,
              .micro_batch_size = *config.micro_batch_size,
              .micro_batches = micro_batches_per_step(config, ranks),
              .packing = config.sample_packing,
              .shuffle = config.shuffle,
              .seed = uint64_t(config.seed)} {
  console.live("reading and tokenizing the data sets");
  const std::optional<ChatTemplate> chat = chat_template(config, tokenizer);
  Dataset data =
      load_datasets(config, {tokenizer ? &*tokenizer : nullptr, chat ? &*chat : nullptr, vocab});
  counts = data.counts;
  training = std::move(data.samples);
  validation = split_validation(training, config.val_set_size, uint64_t(config.seed));
  console.live("");
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
