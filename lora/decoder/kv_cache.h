// Keys and values of sequences being generated, per layer. A layer that looks back over a window
// holds little more than the window: older rows are dropped as new ones come. Else nothing is ever
// evicted.
#pragma once

#include <vector>

#include "lora/model/spec.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

struct CacheSize {
  int64_t sequences;
  int64_t capacity;  // tokens of a sequence
  int64_t most_fed;  // tokens that come to a sequence at once
};

class KvCache {
 public:
  /// What a cache takes of the context's device.
  static size_t bytes(const Context& ctx, const ModelSpec& model, const CacheSize& size);
  KvCache(const Context& ctx, const ModelSpec& model, const CacheSize& size);

  int64_t capacity() const { return size_.capacity; }
  int64_t sequences() const { return size_.sequences; }
  /// Tokens of a sequence so far.
  int64_t length(int64_t sequence) const { return lengths_[size_t(sequence)]; }
  void grow(int64_t sequence, int64_t tokens) { lengths_[size_t(sequence)] += tokens; }
  /// Goes back to the first `tokens` of a sequence, so that others may follow them: to none where a
  /// layer has dropped rows that the next token looks back to. Returns how many are kept.
  int64_t keep(int64_t sequence, int64_t tokens);

  /// Of one layer and sequence.
  struct Rows {
    Tensor keys, values;  // [rows, K*D]
    int64_t first;        // the position of row 0: a multiple of kAttentionAlignment
  };
  /// With room for `count` more tokens.
  Rows rows_for(Context& ctx, int64_t layer, int64_t sequence, int64_t count);

 private:
  struct Layer {
    int64_t width = 0;   // K*D
    int64_t window = 0;  // 0: all tokens are kept
    int64_t rows = 0;
    size_t offset = 0;             // in memory_
    std::vector<int64_t> first{};  // of each sequence: Rows::first
  };
  static Layer layer_of(const LayerSpec& spec, const CacheSize& size);

  Device device_;
  DType dtype_;
  CacheSize size_;
  std::vector<int64_t> lengths_;
  std::vector<Layer> layers_;
  Buffer memory_;  // layer by layer, [sequences, 2, rows, K*D]
};

}  // namespace tessera::lora
