// One micro-batch, as the decoder sees it: samples laid end to end, without padding.
// A sample attends to itself only. Packing many short samples into a row and padding rows of a
// batch are both just lists of samples here, so padding costs nothing and packing can not leak.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/core/error.h"

namespace tessera::lora {

struct Batch {
  static constexpr int32_t kUnsupervised = -1;

  std::vector<int32_t> ids;        // [N] token ids
  std::vector<int32_t> targets;    // [N] the token to predict at this position, or kUnsupervised
  std::vector<int32_t> positions;  // [N] position inside its sample, from 0
  std::vector<int32_t> starts;     // [S + 1] sample s is tokens [starts[s], starts[s + 1])
  /// [S] tokens that a sample will have in the end, where it grows from call to call; empty: as
  /// many as it has here. Some rules of rotary positions depend on it.
  std::vector<int32_t> lengths{};
  std::vector<float> weights{};  // [N] of each position's loss, at least 0; empty: all are 1
  /// Tokens of its longest row, which a padded batch would have as its width: samples may share
  /// rows. 0: each sample is a row.
  int64_t width = 0;

  int64_t tokens() const { return int64_t(ids.size()); }
  int64_t supervised() const {
    int64_t n = 0;
    for (int32_t target : targets) n += target != kUnsupervised;
    return n;
  }
  /// The sum of the weights of the supervised positions: their number where every weight is 1.
  double weight() const {
    if (weights.empty()) return double(supervised());
    TESSERA_CHECK(weights.size() == targets.size());
    double sum = 0.0;
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] != kUnsupervised) sum += double(weights[i]);
    }
    return sum;
  }
};

/// The same, of values that somebody else keeps. While memory is measured it has lengths only:
/// nothing reads ids, targets or positions then, and there are no weights.
struct BatchView {
  BatchView(const Batch& batch)
      : ids(batch.ids),
        targets(batch.targets),
        positions(batch.positions),
        starts(batch.starts),
        lengths(batch.lengths),
        weights(batch.weights),
        width(batch.width) {}
  /// Of so many tokens, without values.
  BatchView(int64_t tokens, std::span<const int32_t> sample_starts)
      : ids(static_cast<const int32_t*>(nullptr), size_t(tokens)),
        targets(ids),
        positions(ids),
        starts(sample_starts) {}

  /// Of sample s, in the end.
  int64_t length_of(size_t s) const {
    return lengths.empty() ? starts[s + 1] - starts[s] : lengths[s];
  }

  /// Tokens of the longest row.
  int64_t row_tokens() const {
    int64_t longest = width;
    for (size_t s = 0; width == 0 && s + 1 < starts.size(); ++s) {
      longest = std::max<int64_t>(longest, starts[s + 1] - starts[s]);
    }
    return longest;
  }

  std::span<const int32_t> ids, targets, positions, starts, lengths;
  std::span<const float> weights;
  int64_t width = 0;

  int64_t tokens() const { return int64_t(ids.size()); }
};

}  // namespace tessera::lora
