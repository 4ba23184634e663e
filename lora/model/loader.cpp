#include "lora/model/loader.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <vector>

#include "runtime/io/hash.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {
namespace {

void require_finite(std::span<const float> values, std::string_view name) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail("tensor {} holds {} at element {}; the checkpoint is damaged", name, values[i], i);
    }
  }
}

template <class T>
void require_finite_16(Tensor t, std::string_view name) {
  const T* values = t.data<T>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    const float x = to_float(values[i]);
    require_finite({&x, 1}, name);
  }
}

void require_finite(Tensor t, std::string_view name) {
  switch (t.dtype()) {
    case DType::kF32:
      return require_finite(t.span<const float>(), name);
    case DType::kBF16:
      return require_finite_16<bf16>(t, name);
    case DType::kF16:
      return require_finite_16<f16>(t, name);
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  fail("tensor {} has the unusable type {}", name, name_of(t.dtype()));
}

/// One tensor of the checkpoint, and which bytes of a store are its own.
struct Item {
  const PlacedTensor* tensor;
  std::string name;
  parallel::BlobPart place;
};

void add_items(std::vector<Item>& items, const BlobLayout& blob, int64_t layer) {
  for (const PlacedTensor& tensor : blob.tensors) {
    items.push_back({&tensor, tensor.row.name(), {layer, tensor.offset, tensor.bytes}});
  }
}

/// Reads tensors and makes the bytes that the base holds of them.
class Maker {
 public:
  Maker(Context& ctx, const Checkpoint& checkpoint) : ctx_(ctx), checkpoint_(checkpoint) {}

  /// Valid until the next call.
  std::span<const std::byte> make(const Item& item) {
    const TensorInfo& info = checkpoint_.info(item.name);
    const quant::FrozenSpec& spec = item.tensor->matrix;
    const bool as_stored = info.quantized == spec;
    const bool quantizes = item.tensor->is_matrix() && !as_stored && !spec.format->dtype;
    if (quantizes && ctx_.device().is_cuda()) return quantize_on_gpu(item);
    grow(blob_, item.place.bytes);
    const std::span<std::byte> blob(blob_.data(), item.place.bytes);
    if (item.tensor->is_matrix()) {
      if (as_stored) {
        checkpoint_.read_blob(item.name, blob);
        return blob;
      }
      const size_t n = size_t(spec.numel());
      grow(values_, n * sizeof(float));
      const std::span<float> w(values_.as<float>(), n);
      checkpoint_.read_f32(item.name, w);
      quant::FrozenMatrix::quantize(ctx_, spec, w, blob.data(), item.name);
      return blob;
    }
    if (info.dtype != item.tensor->dtype) {
      fail("{}: tensor {} is {}, but others of its kind are {}", checkpoint_.path(), item.name,
           name_of(info.dtype), name_of(item.tensor->dtype));
    }
    checkpoint_.read(item.name, blob);
    require_finite(Tensor(blob.data(), info.dtype, {int64_t(blob.size() / size_of(info.dtype))}),
                   item.name);
    return blob;
  }

 private:
  template <class Make>
  static void grow(Buffer& buffer, size_t bytes, Make make) {
    if (buffer.size() >= bytes) return;
    buffer = Buffer();  // first, so that the two never exist together
    buffer = make(bytes);
  }
  static void grow(Buffer& buffer, size_t bytes) { grow(buffer, bytes, Buffer::host); }

  /// The values cross to the GPU in the checkpoint's dtype, and the blob comes back, both through
  /// pinned memory.
  std::span<const std::byte> quantize_on_gpu(const Item& item) {
    const quant::FrozenSpec& spec = item.tensor->matrix;
    const TensorInfo& info = checkpoint_.info(item.name);
    const size_t blob_bytes = item.place.bytes;
    const auto pinned = [&](size_t bytes) { return Buffer::staging_for(ctx_.device(), bytes); };
    const auto on_gpu = [&](size_t bytes) { return Buffer::on(ctx_.device(), bytes); };
    grow(staged_, std::max(info.bytes(), blob_bytes), pinned);
    grow(gpu_values_, info.bytes(), on_gpu);
    grow(gpu_blob_, blob_bytes, on_gpu);
    checkpoint_.read(item.name, {staged_.data(), info.bytes()});
    copy_bytes(ctx_, gpu_values_.data(), staged_.data(), info.bytes());
    const Tensor w(gpu_values_.data(), info.dtype, {spec.rows, spec.cols}, ctx_.device());
    quant::FrozenMatrix::quantize(ctx_, spec, w, gpu_blob_.data(), item.name);
    copy_bytes(ctx_, staged_.data(), gpu_blob_.data(), blob_bytes);
    ctx_.compute_stream().synchronize();
    return {staged_.data(), blob_bytes};
  }

  Context& ctx_;
  const Checkpoint& checkpoint_;
  Buffer values_, blob_;
  Buffer staged_, gpu_values_, gpu_blob_;
};

/// Deals the items to the ranks, the largest first, one a rank and round, so that a round's items
/// are of one size. Returns the items' hashes, in their order.
std::vector<uint64_t> load_items(Context& ctx, const Checkpoint& checkpoint,
                                 const std::vector<Item>& items, parallel::ShardedStore& store,
                                 parallel::Communicator& world,
                                 FunctionRef<void(int64_t)> advance) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return items[a].place.bytes > items[b].place.bytes; });
  std::vector<uint64_t> hashes(items.size());
  Maker maker(ctx, checkpoint);
  const size_t ranks = size_t(world.size()), rank = size_t(world.rank());
  for (size_t first = 0; first < order.size(); first += ranks) {
    std::vector<parallel::BlobPart> parts(ranks, {0, 0, 0});
    const size_t count = std::min(ranks, order.size() - first);
    for (size_t r = 0; r < count; ++r) parts[r] = items[order[first + r]].place;
    std::span<const std::byte> mine;
    uint64_t hash = 0;
    if (rank < count) {
      mine = maker.make(items[order[first + rank]]);
      hash = io::hash_bytes(mine, 0);
    }
    store.distribute(parts, mine);
    const std::vector<uint64_t> all = parallel::gather_values(world, hash);
    for (size_t r = 0; r < count; ++r) hashes[order[first + r]] = all[r];
    advance(int64_t(count));
  }
  store.finish_loading();
  return hashes;
}

}  // namespace

BaseFormat checkpoint_format(const Checkpoint& checkpoint) {
  BaseFormat format;
  std::map<LinearId, quant::Storage> linears;
  std::optional<quant::Storage> most;  // the first that is quantized, else the first of all
  for (const TensorRow& row : tensors_of(checkpoint.spec())) {
    const TensorInfo& info = checkpoint.info(row.name());
    if (row.role == Role::kLinear) {
      const quant::Storage stored =
          info.quantized.value_or(quant::Storage{quant::format_of(info.dtype)});
      linears.emplace(row.id(), stored);
      if (!most || (most->format->dtype && info.quantized)) most = stored;
    }
    if (row.role == Role::kEmbedding) format.embedding = info.dtype;
    if (row.role == Role::kHead) format.head = info.dtype;
    if (row.role == Role::kNorm && row.layer == TensorRow::kNoLayer) format.norm = info.dtype;
  }
  format.linear = most.value();
  std::erase_if(linears, [&](const auto& linear) { return linear.second == format.linear; });
  format.exceptions = std::move(linears);
  return format;
}

uint64_t load_base(Context& ctx, const Checkpoint& checkpoint, BaseWeights& base,
                   parallel::Communicator& world, LoadProgress progress) {
  const BaseLayout& layout = base.layout();
  std::vector<Item> outer, layers;
  add_items(outer, layout.outer, 0);
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    add_items(layers, layout.layers[l], int64_t(l));
  }
  const int64_t total = int64_t(outer.size() + layers.size());
  int64_t done = 0;
  const auto advance = [&](int64_t count) { progress(done += count, total); };
  std::vector<uint64_t> hashes = load_items(ctx, checkpoint, outer, base.outer(), world, advance);
  const auto more = load_items(ctx, checkpoint, layers, base.store(), world, advance);
  hashes.insert(hashes.end(), more.begin(), more.end());
  return io::hash_bytes(std::as_bytes(std::span(hashes)), 0);
}

}  // namespace tessera::lora
