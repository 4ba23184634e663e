// What a run learns from: tokenizer, data sets, validation split and the plan of steps.
#pragma once

#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "launch/data/batches.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

struct RunData {
  /// Reads and tokenizes everything; reports what was found on the console.
  RunData(const Config& config, int64_t vocab, int ranks, int threads, Console& console);

  TokenizerFiles tokenizer_files;  // of base_model, to put beside the adapter
  DatasetCounts counts;
  std::vector<Sample> training;
  std::vector<Sample> validation;
  BatchOptions options;

  /// Hash of every token and label.
  uint64_t fingerprint() const;

 private:
  void read(const Config& config, int64_t vocab, int threads, Console& console);
};

}  // namespace tessera::launch
