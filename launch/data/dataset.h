// Reads training data: JSON and JSONL rows of the supported types, turned into tokens and labels.
// A row that is malformed is an Error naming file and line; a row that is too long or teaches
// nothing is left out and counted.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"

namespace tessera::launch {

/// One tokenized row. labels[i] is ids[i] where the model is to learn to say it, else kIgnore.
struct Sample {
  static constexpr int32_t kIgnore = -100;

  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
};

struct DatasetCounts {
  int64_t rows = 0;          // read
  int64_t dropped_long = 0;  // longer than sequence_len
  int64_t truncated = 0;
  int64_t dropped_empty = 0;  // no token to learn
  int64_t tokens = 0;         // of the samples kept
  int64_t supervised = 0;
};

/// ", 3 longer than sequence_len (dropped)" and the like; empty when nothing was lost.
std::string describe_losses(const DatasetCounts& counts);

struct Dataset {
  std::vector<Sample> samples;
  DatasetCounts counts;
  std::set<RowType> types;         // of the rows that were read
  std::vector<std::string> notes;  // what was inferred or left unused, for the user to see
};

/// What rows are turned into tokens with.
struct RowEncoder {
  const Tokenizer* tokenizer = nullptr;         // needed by every type but tokenized
  const ChatTemplate* chat_template = nullptr;  // needed by rows of messages only
  int64_t vocab = 0;                            // ids must be below
  int threads = 1;                              // that encode rows
  std::vector<int32_t> ends = {};               // tokens that end an answer
  /// Why there is none of the two: thrown at the first row that needs it.
  std::optional<Error> no_tokenizer = {};
  std::optional<Error> no_chat_template = {};
};

/// Reads config.datasets one after the other, in file order. Error when nothing is left.
Dataset load_datasets(const Config& config, const RowEncoder& encoder);

/// Whether any data set is of `type`, or could be, as its type is still to be inferred.
bool may_hold(const Config& config, RowType type);

}  // namespace tessera::launch
