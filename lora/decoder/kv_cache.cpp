#include "lora/decoder/kv_cache.h"

namespace tessera::lora {

size_t KvCache::bytes(const Context& ctx, const DecoderConfig& config, int64_t sequences,
                      int64_t capacity) {
  return size_t(config.layers * sequences * 2 * capacity * config.kv_size()) *
         size_of(ctx.activation_dtype());
}

KvCache::KvCache(const Context& ctx, const DecoderConfig& config, int64_t sequences,
                 int64_t capacity)
    : device_(ctx.device()),
      dtype_(ctx.activation_dtype()),
      capacity_(capacity),
      kv_size_(config.kv_size()),
      lengths_(size_t(sequences), 0),
      memory_(Buffer::on(device_, bytes(ctx, config, sequences, capacity))) {}

Tensor KvCache::view(int64_t layer, int64_t sequence, int64_t which) const {
  const int64_t index = (layer * sequences() + sequence) * 2 + which;
  const size_t bytes = size_t(capacity_ * kv_size_) * size_of(dtype_);
  return Tensor(memory_.data() + size_t(index) * bytes, dtype_, {capacity_, kv_size_}, device_);
}

}  // namespace tessera::lora
