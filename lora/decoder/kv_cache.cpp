#include "lora/decoder/kv_cache.h"

#include <algorithm>

#include "runtime/ops/attention.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

constexpr int64_t kTile = kAttentionAlignment;

}  // namespace

KvCache::Layer KvCache::layer_of(const LayerSpec& spec, const CacheSize& size) {
  const AttentionSpec& attention = spec.attention;
  Layer layer{.width = attention.kv_size(), .rows = size.capacity};
  if (attention.window == 0) return layer;
  // Twice what the window needs, so that the rows that stay move to memory that they do not hold.
  const int64_t kept = (attention.window + kTile) / kTile * kTile + kTile;
  if (2 * kept + size.most_fed >= size.capacity) return layer;
  layer.window = attention.window;
  layer.rows = 2 * kept + size.most_fed;
  return layer;
}

size_t KvCache::bytes(const Context& ctx, const ModelSpec& model, const CacheSize& size) {
  int64_t elements = 0;
  for (const LayerSpec& spec : model.layers) {
    const Layer layer = layer_of(spec, size);
    elements += size.sequences * 2 * layer.rows * layer.width;
  }
  return size_t(elements) * size_of(ctx.activation_dtype());
}

KvCache::KvCache(const Context& ctx, const ModelSpec& model, const CacheSize& size)
    : device_(ctx.device()),
      dtype_(ctx.activation_dtype()),
      size_(size),
      lengths_(size_t(size.sequences), 0),
      memory_(Buffer::on(device_, bytes(ctx, model, size))) {
  size_t offset = 0;
  for (const LayerSpec& spec : model.layers) {
    Layer layer = layer_of(spec, size);
    layer.offset = offset;
    layer.first.assign(lengths_.size(), 0);
    offset += size_t(size.sequences * 2 * layer.rows * layer.width) * size_of(dtype_);
    layers_.push_back(std::move(layer));
  }
}

int64_t KvCache::keep(int64_t sequence, int64_t tokens) {
  const auto at = size_t(sequence);
  TESSERA_CHECK(tokens >= 0 && tokens <= lengths_[at]);
  const bool dropped = std::ranges::any_of(layers_, [&](const Layer& layer) {
    return layer.first[at] > std::max<int64_t>(0, tokens - layer.window + 1);
  });
  lengths_[at] = dropped ? 0 : tokens;
  if (lengths_[at] == 0) {
    for (Layer& layer : layers_) layer.first[at] = 0;
  }
  return lengths_[at];
}

KvCache::Rows KvCache::rows_for(Context& ctx, int64_t layer_index, int64_t sequence,
                                int64_t count) {
  Layer& layer = layers_[size_t(layer_index)];
  int64_t& first = layer.first[size_t(sequence)];
  const size_t row = size_t(layer.width) * size_of(dtype_), half = size_t(layer.rows) * row;
  std::byte* data = memory_.data() + layer.offset + size_t(sequence) * 2 * half;
  const auto rows = [&](std::byte* at) {
    return Tensor(at, dtype_, {layer.rows, layer.width}, device_);
  };
  const int64_t length = lengths_[size_t(sequence)];
  if (layer.window > 0 && length + count - first > layer.rows) {
    const int64_t seen = std::max<int64_t>(0, length - layer.window + 1) / kTile * kTile;
    const size_t from = size_t(seen - first) * row, bytes = size_t(length - seen) * row;
    TESSERA_CHECK(from >= bytes && length + count - seen <= layer.rows);
    for (std::byte* at : {data, data + half}) copy_bytes(ctx, at, at + from, bytes);
    first = seen;
  }
  return {rows(data), rows(data + half), first};
}

}  // namespace tessera::lora
