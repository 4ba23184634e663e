#include "lora/decoder/kv_cache.h"

namespace tessera::lora {

KvCache::KvCache(const DecoderConfig& config, int64_t sequences, int64_t capacity)
    : capacity_(capacity), kv_size_(config.kv_size()), lengths_(size_t(sequences), 0) {
  memory_ =
      Buffer::host(size_t(config.layers * sequences * 2 * capacity * kv_size_) * sizeof(float));
}

Tensor KvCache::view(int64_t layer, int64_t sequence, int64_t which) const {
  const int64_t index = (layer * sequences() + sequence) * 2 + which;
  return Tensor(memory_.as<float>() + index * capacity_ * kv_size_, DType::kF32,
                {capacity_, kv_size_});
}

}  // namespace tessera::lora
