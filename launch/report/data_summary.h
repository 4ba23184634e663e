// What a run will train on, as numbers and samples: the content of `tessera data`, which text, JSON
// and HTML show. Plain values; texts are as the files have them, so whoever prints them makes them
// safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/report/length_histogram.h"

namespace tessera::launch {

/// One of `datasets` or `test_datasets`.
struct SetSummary {
  std::string path;
  std::string type;        // as configs spell it; empty of a set without rows
  bool evaluated = false;  // of test_datasets
  double weight = 1;
  int64_t rows = 0;      // read
  int64_t samples = 0;   // kept
  int64_t held_out = 0;  // of the samples, by val_set_size
  int64_t tokens = 0;    // of the samples
  int64_t learned = 0;   // of the tokens
  int64_t dropped_long = 0, truncated = 0, dropped_empty = 0;
  std::string cached_in;           // the file of its tokens; empty where there is none
  std::vector<std::string> notes;  // what was inferred or left unused

  int64_t lost() const { return dropped_long + truncated + dropped_empty; }
};

/// A row of which something is not trained on.
struct LostRow {
  std::string where;  // file:line
  std::string why;
};

/// Of many numbers.
struct Spread {
  int64_t least = 0, most = 0;
  double mean = 0;
};

/// The steps, and what the first epoch's rows are.
struct StepsSummary {
  int64_t steps = 0;
  double epochs = 0;
  int64_t ranks = 1;
  int64_t micro_batches = 0;     // of a full step, over all ranks
  int64_t micro_batch_size = 0;  // rows
  int64_t sequence_len = 0;      // tokens
  bool packing = false;
  int64_t rows = 0;           // of the first epoch
  double filled = 0;          // of sequence_len, from 0 to 1: the mean of its rows
  Spread row_samples = {};    // samples of a row
  Spread batch_tokens = {};   // tokens of a micro-batch
  int64_t largest_batch = 0;  // tokens: in the whole run
};

struct SampleToken {
  static constexpr int32_t kNoLabel = -100;

  int32_t id = 0;
  int32_t label = kNoLabel;  // what the model learns to say here
  bool special = false;
  std::string text = {};        // empty where a later token completes its characters
  std::string spelling = {};    // as the vocabulary has it
  std::string label_text = {};  // of a label that is another token than the one that is here

  bool learned() const { return label != kNoLabel; }
};

struct SampleSummary {
  int64_t number = 0;  // from 1, of the samples that are trained on
  std::string path;    // of its data set
  std::vector<SampleToken> tokens = {};

  int64_t learned() const;
};

struct DataSummary {
  std::vector<SetSummary> sets;  // `datasets`, then `test_datasets`
  LengthHistogram lengths;       // of the samples that are trained on
  StepsSummary steps;
  std::vector<LostRow> lost;  // all that are named, in the order of the sets
  std::vector<SampleSummary> samples;

  /// Rows, or pieces of a text, of which something is lost; more than are named, maybe.
  int64_t lost_rows() const;
  /// Sums over the sets: "3 longer than sequence_len (dropped), 1 with nothing to learn (dropped)".
  /// Empty where nothing is lost.
  std::string lost_reasons() const;
};

/// "37.5 %" of a whole; "0 %" where that is 0.
std::string share_text(int64_t part, int64_t whole);
/// "data.jsonl: alpaca, weight 2"
std::string set_title(const SetSummary& set);
/// Its rows, its tokens, its cache and its notes, a line each.
std::vector<std::string> set_lines(const SetSummary& set);
/// Steps, rows and micro-batches, likewise.
std::vector<std::string> steps_lines(const StepsSummary& steps);
/// The lengths of a bin: "50-99", or "5".
std::string bin_text(const LengthHistogram::Bin& bin);
/// "least 3, median 41, mean 45.3, 95 % up to 120, longest 300"
std::string lengths_line(const LengthHistogram& lengths);
/// "sample 17 of data.jsonl: 45 tokens, 12 learned (26.7 %)"
std::string sample_title(const SampleSummary& sample);

}  // namespace tessera::launch
