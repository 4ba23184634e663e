// Keys and values of sequences being generated, per layer. Fixed capacity; nothing is ever evicted.
#pragma once

#include <vector>

#include "lora/model/spec.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

class KvCache {
 public:
  /// What a cache takes of the context's device.
  static size_t bytes(const Context& ctx, const ModelSpec& model, int64_t sequences,
                      int64_t capacity);
  /// Room for `capacity` tokens in each of `sequences` sequences.
  KvCache(const Context& ctx, const ModelSpec& model, int64_t sequences, int64_t capacity);

  int64_t capacity() const { return capacity_; }
  int64_t sequences() const { return int64_t(lengths_.size()); }
  /// Tokens held of a sequence.
  int64_t length(int64_t sequence) const { return lengths_[size_t(sequence)]; }
  void grow(int64_t sequence, int64_t tokens) { lengths_[size_t(sequence)] += tokens; }

  /// [capacity, K*D] of one layer and sequence.
  Tensor keys(int64_t layer, int64_t sequence) { return view(layer, sequence, 0); }
  Tensor values(int64_t layer, int64_t sequence) { return view(layer, sequence, 1); }

 private:
  Tensor view(int64_t layer, int64_t sequence, int64_t which);

  Device device_;
  DType dtype_;
  int64_t capacity_;
  std::vector<int64_t> lengths_;
  std::vector<int64_t> kv_sizes_;  // K*D of each layer
  std::vector<size_t> offsets_;    // of each layer in memory_
  Buffer memory_;                  // layer by layer, [sequences, 2, capacity, K*D]
};

}  // namespace tessera::lora
