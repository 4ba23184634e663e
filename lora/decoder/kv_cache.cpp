#include "lora/decoder/kv_cache.h"

namespace tessera::lora {
namespace {

size_t layer_bytes(DType dtype, const LayerSpec& layer, int64_t sequences, int64_t capacity) {
  return size_t(sequences * 2 * capacity * layer.attention.kv_size()) * size_of(dtype);
}

}  // namespace

size_t KvCache::bytes(const Context& ctx, const ModelSpec& model, int64_t sequences,
                      int64_t capacity) {
  size_t bytes = 0;
  for (const LayerSpec& layer : model.layers) {
    bytes += layer_bytes(ctx.activation_dtype(), layer, sequences, capacity);
  }
  return bytes;
}

KvCache::KvCache(const Context& ctx, const ModelSpec& model, int64_t sequences, int64_t capacity)
    : device_(ctx.device()),
      dtype_(ctx.activation_dtype()),
      capacity_(capacity),
      lengths_(size_t(sequences), 0),
      memory_(Buffer::on(device_, bytes(ctx, model, sequences, capacity))) {
  size_t offset = 0;
  for (const LayerSpec& layer : model.layers) {
    kv_sizes_.push_back(layer.attention.kv_size());
    offsets_.push_back(offset);
    offset += layer_bytes(dtype_, layer, sequences, capacity);
  }
}

Tensor KvCache::view(int64_t layer, int64_t sequence, int64_t which) {
  const int64_t width = kv_sizes_[size_t(layer)];
  const size_t bytes = size_t(capacity_ * width) * size_of(dtype_);
  const size_t offset = offsets_[size_t(layer)] + size_t(sequence * 2 + which) * bytes;
  return Tensor(memory_.data() + offset, dtype_, {capacity_, width}, device_);
}

}  // namespace tessera::lora
