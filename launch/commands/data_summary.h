// From what a run reads to the summary that `tessera data` shows.
#pragma once

#include <cstdint>
#include <optional>

#include "launch/config/config.h"
#include "launch/report/data_summary.h"
#include "launch/run/run_data.h"

namespace tessera::launch {

/// Which samples are shown.
struct SampleChoice {
  int64_t count = 3;                   // spread evenly, chosen by the seed
  std::optional<int64_t> number = {};  // instead: this one, from 1
};

/// `tokenizer` gives the texts of tokens; null where there is none, which leaves the ids. Samples
/// are read one at a time, and of all others the lengths alone are held, 4 bytes each. Error
/// (usage) where no sample has the number.
DataSummary summarize(const Config& config, const RunData& data, int ranks,
                      const SampleChoice& choice, const Tokenizer* tokenizer);

/// The tokens of a sample with their texts. Together the texts are what the tokenizer decodes; each
/// is of whole characters, and is empty where a later token completes one.
std::vector<SampleToken> describe_tokens(const Sample& sample, const Tokenizer* tokenizer);

}  // namespace tessera::launch
