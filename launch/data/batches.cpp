#include "launch/data/batches.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): a stateless mix of a counter, enough to order samples.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Orders 0..n-1 by a key drawn for each from (seed, stream); ties by index.
std::vector<int32_t> shuffled(size_t n, uint64_t seed, uint64_t stream) {
  std::vector<std::pair<uint64_t, int32_t>> keyed(n);
  const uint64_t base = mix(mix(seed) ^ stream);
  for (size_t i = 0; i < n; ++i) keyed[i] = {mix(base ^ mix(i)), int32_t(i)};
  std::sort(keyed.begin(), keyed.end());
  std::vector<int32_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = keyed[i].second;
  return order;
}

/// First fit among a window of open rows. A window of one keeps the order of the samples.
std::vector<Row> pack(const std::vector<Sample>& samples, const std::vector<int32_t>& order,
                      int64_t capacity, size_t window) {
  struct Open {
    Row row;
    int64_t room;
  };
  std::vector<Row> done;
  std::vector<Open> open;
  for (int32_t index : order) {
    const int64_t length = int64_t(samples[size_t(index)].ids.size());
    auto fit =
        std::find_if(open.begin(), open.end(), [&](const Open& o) { return o.room >= length; });
    if (fit == open.end()) {
      if (open.size() == window) {
        // The fullest row is the least likely to take another sample.
        const auto fullest = std::min_element(
            open.begin(), open.end(), [](const Open& a, const Open& b) { return a.room < b.room; });
        done.push_back(std::move(fullest->row));
        open.erase(fullest);
      }
      open.push_back({{}, capacity});
      fit = open.end() - 1;
    }
    fit->row.push_back(index);
    fit->room -= length;
  }
  for (Open& o : open) done.push_back(std::move(o.row));
  return done;
}

int64_t row_tokens(const std::vector<Sample>& samples, const Row& row) {
  int64_t n = 0;
  for (int32_t index : row) n += int64_t(samples[size_t(index)].ids.size());
  return n;
}

}  // namespace

std::vector<Row> epoch_rows(const std::vector<Sample>& samples, const BatchOptions& options,
                            int64_t epoch) {
  std::vector<int32_t> order;
  if (options.shuffle) {
    order = shuffled(samples.size(), options.seed, uint64_t(epoch));
  } else {
    order.resize(samples.size());
    std::iota(order.begin(), order.end(), 0);
  }
  if (options.packing) return pack(samples, order, options.sequence_len, options.shuffle ? 64 : 1);
  std::vector<Row> rows;
  for (int32_t index : order) rows.push_back({index});
  return rows;
}

lora::Batch make_batch(const std::vector<Sample>& samples, const std::vector<Row>& rows,
                       size_t begin, size_t end) {
  lora::Batch batch;
  batch.starts.push_back(0);
  for (size_t r = begin; r < end; ++r) {
    for (int32_t index : rows[r]) {
      const Sample& sample = samples[size_t(index)];
      const size_t n = sample.ids.size();
      batch.ids.insert(batch.ids.end(), sample.ids.begin(), sample.ids.end());
      for (size_t i = 0; i < n; ++i) {
        batch.positions.push_back(int32_t(i));
        const int32_t next = i + 1 < n ? sample.labels[i + 1] : Sample::kIgnore;
        batch.targets.push_back(next == Sample::kIgnore ? lora::Batch::kUnsupervised : next);
      }
      batch.starts.push_back(int32_t(batch.ids.size()));
    }
  }
  return batch;
}

RunSteps::RunSteps(const std::vector<Sample>& samples, const BatchOptions& options, int64_t epochs,
                   int64_t max_steps)
    : samples_(samples), options_(options) {
  const int64_t rows_per_step = options.micro_batch_size * options.micro_batches;
  const auto full = [&] { return max_steps > 0 && steps() >= max_steps; };
  for (int64_t epoch = 0; max_steps > 0 ? !full() : epoch < epochs; ++epoch) {
    load_epoch(epoch);
    const int64_t rows = int64_t(rows_.size());
    rows_of_epoch_.push_back(rows);
    for (int64_t first = 0; first < rows && !full(); first += rows_per_step) {
      places_.push_back({epoch, first, std::min(rows_per_step, rows - first)});
      for (int64_t m = first; m < first + places_.back().rows; m += options.micro_batch_size) {
        const int64_t end = std::min(m + options.micro_batch_size, first + places_.back().rows);
        int64_t tokens = 0;
        for (int64_t r = m; r < end; ++r) tokens += row_tokens(samples_, rows_[size_t(r)]);
        max_tokens_ = std::max(max_tokens_, tokens);
      }
    }
    if (epoch == 0) {
      int64_t tokens = 0;
      for (const Row& row : rows_) tokens += row_tokens(samples_, row);
      packing_efficiency_ = double(tokens) / double(rows * options.sequence_len);
    }
  }
}

void RunSteps::load_epoch(int64_t epoch) {
  if (epoch == epoch_) return;
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

std::vector<lora::Batch> evaluation_batches(const std::vector<Sample>& samples,
                                            const BatchOptions& options) {
  BatchOptions in_order = options;
  in_order.shuffle = false;
  const std::vector<Row> rows = epoch_rows(samples, in_order, 0);
  std::vector<lora::Batch> batches;
  const size_t size = size_t(options.micro_batch_size);
  for (size_t begin = 0; begin < rows.size(); begin += size) {
    batches.push_back(make_batch(samples, rows, begin, std::min(begin + size, rows.size())));
  }
  return batches;
}

std::vector<Sample> split_validation(std::vector<Sample>& samples, double size, uint64_t seed) {
  if (size == 0.0) return {};
  const size_t total = samples.size();
  const size_t wanted = size < 1.0 ? size_t(std::ceil(size * double(total))) : size_t(size);
  if (wanted >= total) {
    fail_usage("val_set_size {} takes {} of {} rows and leaves none to train on", size, wanted,
               total);
  }
  constexpr uint64_t kStream = 0x76616c6964617465u;  // apart from every epoch's number
  const std::vector<int32_t> order = shuffled(total, seed, kStream);
  const std::set<int32_t> held(order.begin(), order.begin() + int64_t(wanted));
  std::vector<Sample> validation, training;
  for (size_t i = 0; i < total; ++i) {
    (held.contains(int32_t(i)) ? validation : training).push_back(std::move(samples[i]));
  }
  samples = std::move(training);
  return validation;
}

}  // namespace tessera::launch
