// From rows of samples to the micro-batches of steps. Epochs never share a step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "launch/data/packing.h"
#include "lora/decoder/batch.h"

namespace tessera::launch {

/// The samples of rows [begin, end) laid end to end, targets shifted by one token.
lora::Batch make_batch(const SampleList& samples, const Rows& rows, size_t begin, size_t end);

/// Where step `step` (from 0) lies.
struct StepPlace {
  int64_t epoch;
  int64_t first_row;  // in the epoch's rows
  int64_t rows;       // fewer than a full step at an epoch's end
};

/// The steps of a run of `epochs` epochs, the last of which may be a part of one, or of `max_steps`
/// steps if that is not 0.
class RunSteps {
 public:
  /// Error where an epoch would have no rows.
  RunSteps(const SampleList& samples, const BatchOptions& options, double epochs,
           int64_t max_steps);

  int64_t steps() const { return int64_t(places_.size()); }
  const StepPlace& place(int64_t step) const { return places_[size_t(step)]; }
  /// Epochs finished after `step` steps, with the fraction of the running one.
  double epoch_after(int64_t step) const;
  /// The micro-batches of a step, in global order.
  std::vector<lora::Batch> micro_batches(int64_t step);
  /// Tokens of the largest micro-batch of the whole run.
  int64_t max_tokens() const { return max_tokens_; }
  /// Tokens held by the rows of the first epoch, over sequence_len times their number.
  double packing_efficiency() const { return packing_efficiency_; }

 private:
  void load_epoch(int64_t epoch);

  const SampleList& samples_;
  BatchOptions options_;
  std::vector<StepPlace> places_;
  std::vector<int64_t> rows_of_epoch_;
  Rows rows_;  // of epoch_
  int64_t epoch_ = -1;
  int64_t max_tokens_ = 0;
  double packing_efficiency_ = 0.0;
};

/// Samples in fixed micro-batches, in order, for evaluation.
class EvaluationBatches {
 public:
  EvaluationBatches(const SampleList& samples, const BatchOptions& options);

  size_t size() const { return (rows_.size() + rows_of_batch_ - 1) / rows_of_batch_; }
  lora::Batch operator[](size_t i) const;
  /// The samples of a batch, in its order, by their numbers in the list.
  std::vector<int32_t> samples_of(size_t i) const;
  /// Of the largest of them.
  int64_t max_tokens() const;

 private:
  size_t end_of(size_t i) const { return std::min((i + 1) * rows_of_batch_, rows_.size()); }

  const SampleList& samples_;
  const size_t rows_of_batch_;
  const Rows rows_;
};

}  // namespace tessera::launch
