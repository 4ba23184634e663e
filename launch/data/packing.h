// The rows of an epoch: which samples are trained on together, and in which order. All of it is a
// pure function of the samples' lengths, the seed and the epoch, so that a run resumes from one
// integer, the step; nothing is ever skipped or replayed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "launch/data/sample_list.h"

namespace tessera::launch {

struct BatchOptions {
  int64_t sequence_len;      // tokens of a packed row
  int64_t micro_batch_size;  // rows
  int64_t micro_batches;     // of a full step, over all ranks
  bool packing;
  bool shuffle;
  uint64_t seed;
  bool group_by_length = false;  // without packing: the rows of a step are of like length
};

/// What packs shuffled samples, in a run's identity: another one makes other rows.
inline constexpr std::string_view kPacker = "best fit of 512, longest first";

/// Lists of samples: several in a row where they are packed, else one.
class Rows {
 public:
  size_t size() const { return ends_.size(); }
  std::span<const int32_t> operator[](size_t r) const {
    const size_t begin = r == 0 ? 0 : ends_[r - 1];
    return std::span(samples_).subspan(begin, ends_[r] - begin);
  }
  void add(std::span<const int32_t> row) {
    samples_.insert(samples_.end(), row.begin(), row.end());
    ends_.push_back(samples_.size());
  }
  bool operator==(const Rows&) const = default;

 private:
  std::vector<int32_t> samples_;
  std::vector<size_t> ends_;
};

/// Of an epoch, in training order. A sample of weight 2 is there twice; of those of weight 0.5 half
/// are there, other ones in every epoch.
Rows epoch_rows(const SampleList& samples, const BatchOptions& options, int64_t epoch);

/// Tokens of a row, and of the rows [begin, end).
int64_t row_tokens(const SampleList& samples, std::span<const int32_t> row);
int64_t row_tokens(const SampleList& samples, const Rows& rows, size_t begin, size_t end);

/// Which of `total` samples are held out: `size` below 1 is a share, else a number. A function of
/// the seed alone. Error when none or all would be left to train on.
std::vector<bool> held_out(size_t total, double size, uint64_t seed);

}  // namespace tessera::launch
