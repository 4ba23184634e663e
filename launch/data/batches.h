// From samples to micro-batches. The order of samples is a pure function of (seed, epoch), so a run
// resumes from one integer, the step; nothing is ever skipped or replayed. Epochs never share a
// step.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/data/dataset.h"
#include "lora/decoder/batch.h"

namespace tessera::launch {

struct BatchOptions {
  int64_t sequence_len;      // tokens of a packed row
  int64_t micro_batch_size;  // rows
  int64_t micro_batches;     // of a full step, over all ranks
  bool packing;
  bool shuffle;
  uint64_t seed;
};

/// A row is a list of sample indices: several when packing, else one.
using Row = std::vector<int32_t>;

/// The rows of one epoch, in training order.
std::vector<Row> epoch_rows(const std::vector<Sample>& samples, const BatchOptions& options,
                            int64_t epoch);

/// The samples of rows[begin, end) laid end to end, targets shifted by one token.
lora::Batch make_batch(const std::vector<Sample>& samples, const std::vector<Row>& rows,
                       size_t begin, size_t end);

/// Where step `step` (from 0) lies.
struct StepPlace {
  int64_t epoch;
  int64_t first_row;  // in the epoch's rows
  int64_t rows;       // fewer than a full step at an epoch's end
};

/// The steps of a run of `epochs` epochs, or of `max_steps` steps if that is not 0.
class RunSteps {
 public:
  RunSteps(const std::vector<Sample>& samples, const BatchOptions& options, int64_t epochs,
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

  const std::vector<Sample>& samples_;
  BatchOptions options_;
  std::vector<StepPlace> places_;
  std::vector<int64_t> rows_of_epoch_;
  std::vector<Row> rows_;  // of epoch_
  int64_t epoch_ = -1;
  int64_t max_tokens_ = 0;
  double packing_efficiency_ = 0.0;
};

/// Cuts `samples` into fixed micro-batches in order, for evaluation.
std::vector<lora::Batch> evaluation_batches(const std::vector<Sample>& samples,
                                            const BatchOptions& options);

/// Moves a held-out set out of `samples`: `size` below 1 is a share, else a number of rows. Which
/// rows, is a function of the seed alone; both sets keep their order. Error when one would be
/// empty.
std::vector<Sample> split_validation(std::vector<Sample>& samples, double size, uint64_t seed);

}  // namespace tessera::launch
