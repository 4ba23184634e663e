// One step of generation: the newest tokens of some sequences, over a cache of keys and values.
#pragma once

#include <span>
#include <vector>

#include "lora/decoder/decoder.h"
#include "lora/decoder/kv_cache.h"

namespace tessera::lora {

/// The newest tokens of one sequence.
struct Feed {
  int64_t sequence;
  std::span<const int32_t> ids;
  int64_t length = 0;  // tokens that the sequence will be fed in all; 0: the cache's capacity
};

class GenerationStep {
 public:
  explicit GenerationStep(Decoder& decoder) : decoder_(decoder) {}

  /// Where the decoder runs, and in its dtype.
  KvCache make_cache(const CacheSize& size) const {
    return KvCache(decoder_.context(), decoder_.spec(), size);
  }
  size_t cache_bytes(const CacheSize& size) const {
    return KvCache::bytes(decoder_.context(), decoder_.spec(), size);
  }

  /// Bytes that run() needs for at most max_tokens tokens per call.
  Decoder::Memory plan(int64_t max_tokens, KvCache& cache);
  /// Appends each feed's tokens to its sequence in the cache; returns the logits [feeds, V] that
  /// follow each feed's last token.
  std::vector<float> run(KvCache& cache, std::span<const Feed> feeds);

 private:
  Tensor logits(KvCache& cache, std::span<const Feed> feeds);

  Decoder& decoder_;
};

}  // namespace tessera::lora
