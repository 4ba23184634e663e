#include "launch/data/batches.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"

namespace tessera::launch {

lora::Batch make_batch(const SampleList& samples, const Rows& rows, size_t begin, size_t end) {
  lora::Batch batch;
  batch.starts.push_back(0);
  for (size_t r = begin; r < end; ++r) {
    for (int32_t index : rows[r]) {
      const Sample sample = samples[size_t(index)];
      const size_t n = sample.ids.size();
      batch.ids.insert(batch.ids.end(), sample.ids.begin(), sample.ids.end());
      for (size_t i = 0; i < n; ++i) {
        batch.positions.push_back(int32_t(i));
        const int32_t next = i + 1 < n ? sample.labels[i + 1] : Sample::kIgnore;
        batch.targets.push_back(next == Sample::kIgnore ? lora::Batch::kUnsupervised : next);
      }
      batch.starts.push_back(int32_t(batch.ids.size()));
    }
    batch.width = std::max(batch.width, row_tokens(samples, rows[r]));
  }
  return batch;
}

RunSteps::RunSteps(const SampleList& samples, const BatchOptions& options, double epochs,
                   int64_t max_steps)
    : samples_(samples), options_(options) {
  const int64_t rows_per_step = options.micro_batch_size * options.micro_batches;
  const auto full = [&] { return max_steps > 0 && steps() >= max_steps; };
  for (int64_t epoch = 0; max_steps > 0 ? !full() : double(epoch) < epochs; ++epoch) {
    load_epoch(epoch);
    const int64_t rows = int64_t(rows_.size());
    if (rows == 0) {
      fail_usage("the weights of the data sets leave no row to train on in epoch {}", epoch + 1);
    }
    rows_of_epoch_.push_back(rows);
    // The part of an epoch has its share of the steps, rounded up as transformers does it.
    const double share = max_steps > 0 ? 1 : std::min(1.0, epochs - double(epoch));
    const auto all_steps = double((rows + rows_per_step - 1) / rows_per_step);
    constexpr double kRounding = 1e-9;  // 2.1 - 2 is above 0.1
    const int64_t end_row = int64_t(std::ceil(share * all_steps - kRounding)) * rows_per_step;
    for (int64_t first = 0; first < std::min(rows, end_row) && !full(); first += rows_per_step) {
      places_.push_back({epoch, first, std::min(rows_per_step, rows - first)});
      for (int64_t m = first; m < first + places_.back().rows; m += options.micro_batch_size) {
        const int64_t end = std::min(m + options.micro_batch_size, first + places_.back().rows);
        max_tokens_ = std::max(max_tokens_, row_tokens(samples_, rows_, size_t(m), size_t(end)));
      }
    }
    if (epoch == 0) {
      const int64_t tokens = row_tokens(samples_, rows_, 0, rows_.size());
      packing_efficiency_ = double(tokens) / double(rows * options.sequence_len);
    }
  }
}

void RunSteps::load_epoch(int64_t epoch) {
  if (epoch == epoch_) return;
  rows_ = {};  // before there are others
  rows_ = epoch_rows(samples_, options_, epoch);
  epoch_ = epoch;
}

double RunSteps::epoch_after(int64_t step) const {
  if (step == 0) return 0.0;
  const StepPlace& p = place(step - 1);
  return double(p.epoch) + double(p.first_row + p.rows) / double(rows_of_epoch_[size_t(p.epoch)]);
}

std::vector<lora::Batch> RunSteps::micro_batches(int64_t step) {
  const StepPlace& p = place(step);
  load_epoch(p.epoch);
  std::vector<lora::Batch> batches;
  const size_t end = size_t(p.first_row + p.rows), size = size_t(options_.micro_batch_size);
  for (size_t begin = size_t(p.first_row); begin < end; begin += size) {
    batches.push_back(make_batch(samples_, rows_, begin, std::min(begin + size, end)));
  }
  return batches;
}

EvaluationBatches::EvaluationBatches(const SampleList& samples, const BatchOptions& options)
    : samples_(samples), rows_of_batch_(size_t(options.micro_batch_size)), rows_([&] {
        BatchOptions in_order = options;
        in_order.shuffle = in_order.group_by_length = false;
        return epoch_rows(samples, in_order, 0);
      }()) {}

lora::Batch EvaluationBatches::operator[](size_t i) const {
  return make_batch(samples_, rows_, i * rows_of_batch_, end_of(i));
}

std::vector<int32_t> EvaluationBatches::samples_of(size_t i) const {
  std::vector<int32_t> samples;
  for (size_t r = i * rows_of_batch_; r < end_of(i); ++r) {
    samples.insert(samples.end(), rows_[r].begin(), rows_[r].end());
  }
  return samples;
}

int64_t EvaluationBatches::max_tokens() const {
  int64_t most = 0;
  for (size_t i = 0; i < size(); ++i) {
    most = std::max(most, row_tokens(samples_, rows_, i * rows_of_batch_, end_of(i)));
  }
  return most;
}

}  // namespace tessera::launch
