// Reads training data: the rows of files, turned into tokens and labels. A row that is malformed is
// an Error naming file and line; a row that is too long or teaches nothing is left out and counted.
// What a large data set became is kept in a cache (token_cache.h).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "launch/data/sample_list.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"

namespace tessera::launch {

struct DatasetCounts {
  int64_t rows = 0;          // read
  int64_t samples = 0;       // kept; a row may become several
  int64_t dropped_long = 0;  // longer than sequence_len
  int64_t truncated = 0;
  int64_t dropped_empty = 0;  // no token to learn
  int64_t tokens = 0;         // of the samples kept
  int64_t supervised = 0;

  void add(const DatasetCounts& other);
  int64_t dropped() const { return dropped_long + dropped_empty; }
};

/// ", 3 longer than sequence_len (dropped)" and the like; empty when nothing was lost.
std::string describe_losses(const DatasetCounts& counts);

/// What was found in one data set.
struct DatasetReport {
  /// A row of which something is not trained on.
  struct LostRow {
    std::string where;  // file:line
    std::string why;
  };
  static constexpr size_t kLostRows = 1000;  // the first that are named; all are counted

  std::string path;
  std::optional<RowType> type;  // none of a set without rows
  DatasetCounts counts;
  std::vector<std::string> notes;  // what was inferred or left unused, for the user to see
  std::vector<LostRow> lost;
  std::string cached_in = {};  // the file of its tokens, if any
};

struct Dataset {
  SampleList samples;
  DatasetCounts counts;                // of all data sets
  std::set<RowType> types;             // of the rows that were read
  std::vector<DatasetReport> reports;  // in the order of the config

  std::vector<std::string> notes() const;  // of all data sets
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

/// Reads `datasets`, those of the config or its test_datasets, one after the other, in file order.
/// Error when nothing is left. Shows on `console`, if any, how far it is.
Dataset load_datasets(const Config& config, const std::vector<DatasetConfig>& datasets,
                      const RowEncoder& encoder, Console* console = nullptr);

/// Whether any data set is of `type`, or could be, as its type is still to be inferred.
bool may_hold(const Config& config, RowType type);

}  // namespace tessera::launch
