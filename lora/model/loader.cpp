#include "lora/model/loader.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "runtime/io/hash.h"

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
    default:
      fail("tensor {} has the unusable type {}", name, name_of(t.dtype()));
  }
}

/// One tensor of the checkpoint and its place.
struct Item {
  std::string name;
  parallel::BlobPart place;
  const quant::FrozenSpec* spec;  // null: stored as it is, in `dtype`
  DType dtype;
};

std::vector<Item> outer_items(const BaseWeights& base) {
  const DecoderConfig& c = base.config();
  const BaseFormat& format = base.format();
  const OuterLayout& layout = base.outer_layout();
  const size_t elements = size_t(c.vocab * c.hidden);
  const auto raw = [&](const char* name, size_t offset, size_t n, DType dtype) {
    return Item{name, {0, offset, n * size_of(dtype)}, nullptr, dtype};
  };
  std::vector<Item> items = {
      raw("model.embed_tokens.weight", 0, elements, format.embedding),
      raw("model.norm.weight", layout.norm, size_t(c.hidden), format.norm),
  };
  if (!c.tied_head) items.push_back(raw("lm_head.weight", layout.head, elements, format.head));
  return items;
}

std::vector<Item> layer_items(const BaseWeights& base) {
  const BlockLayout& layout = base.layout();
  const DType norm = base.format().norm;
  const size_t norm_bytes = size_t(base.config().hidden) * size_of(norm);
  std::vector<Item> items;
  for (int64_t layer = 0; layer < base.config().layers; ++layer) {
    for (size_t i = 0; i < kAllSites.size(); ++i) {
      const quant::FrozenSpec& spec = layout.spec[i];
      items.push_back({weight_name(layer, Site(i)),
                       {layer, layout.offset[i], spec.bytes()},
                       &spec,
                       DType::kF32});
    }
    for (const auto& [suffix, offset] : {std::pair("input_layernorm", layout.attention_norm),
                                         std::pair("post_attention_layernorm", layout.mlp_norm)}) {
      items.push_back({fmt::format("model.layers.{}.{}.weight", layer, suffix),
                       {layer, offset, norm_bytes},
                       nullptr,
                       norm});
    }
  }
  return items;
}

/// Reads tensors and makes the bytes that the base holds of them.
class Maker {
 public:
  Maker(Context& ctx, const Checkpoint& checkpoint) : ctx_(ctx), checkpoint_(checkpoint) {}

  /// Valid until the next call.
  std::span<const std::byte> make(const Item& item) {
    grow(blob_, item.place.bytes);
    const std::span<std::byte> blob(blob_.data(), item.place.bytes);
    if (item.spec) {
      const size_t n = size_t(item.spec->rows * item.spec->cols);
      grow(values_, n * sizeof(float));
      const std::span<float> w(values_.as<float>(), n);
      checkpoint_.read_f32(item.name, w);
      quant::FrozenMatrix::quantize(ctx_, *item.spec, w, blob.data(), item.name);
      return blob;
    }
    const DType dtype = checkpoint_.info(item.name).dtype;
    if (dtype != item.dtype) {
      fail("{}: tensor {} is {}, but others of its kind are {}", checkpoint_.path(), item.name,
           name_of(dtype), name_of(item.dtype));
    }
    checkpoint_.read(item.name, blob);
    require_finite(Tensor(blob.data(), dtype, {int64_t(blob.size() / size_of(dtype))}), item.name);
    return blob;
  }

 private:
  static void grow(Buffer& buffer, size_t bytes) {
    if (buffer.size() >= bytes) return;
    buffer = Buffer();  // first, so that the two never exist together
    buffer = Buffer::host(bytes);
  }

  Context& ctx_;
  const Checkpoint& checkpoint_;
  Buffer values_, blob_;
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

std::string weight_name(int64_t layer, Site site) {
  return fmt::format("model.layers.{}.{}.weight", layer, module_path(site));
}

BaseFormat checkpoint_format(const Checkpoint& checkpoint) {
  const DecoderConfig& c = checkpoint.config();
  BaseFormat format;
  const DType linear = checkpoint.info(weight_name(0, Site::kQ)).dtype;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    for (size_t site = 0; site < kAllSites.size(); ++site) {
      const std::string name = weight_name(layer, Site(site));
      const DType dtype = checkpoint.info(name).dtype;
      if (dtype != linear) {
        fail("{}: tensor {} is {}, but {} is {}; one dtype for all linears is needed",
             checkpoint.path(), name, name_of(dtype), weight_name(0, Site::kQ), name_of(linear));
      }
    }
  }
  format.linear = format_of(linear);
  format.norm = checkpoint.info("model.norm.weight").dtype;
  format.embedding = checkpoint.info("model.embed_tokens.weight").dtype;
  if (!c.tied_head) format.head = checkpoint.info("lm_head.weight").dtype;
  return format;
}

uint64_t load_base(Context& ctx, const Checkpoint& checkpoint, BaseWeights& base,
                   parallel::Communicator& world, LoadProgress progress) {
  const std::vector<Item> outer = outer_items(base), layers = layer_items(base);
  const int64_t total = int64_t(outer.size() + layers.size());
  int64_t done = 0;
  const auto advance = [&](int64_t count) { progress(done += count, total); };
  std::vector<uint64_t> hashes = load_items(ctx, checkpoint, outer, base.outer(), world, advance);
  const auto more = load_items(ctx, checkpoint, layers, base.store(), world, advance);
  hashes.insert(hashes.end(), more.begin(), more.end());
  return io::hash_bytes(std::as_bytes(std::span(hashes)), 0);
}

}  // namespace tessera::lora
