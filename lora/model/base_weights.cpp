#include "lora/model/base_weights.h"

#include <vector>

namespace tessera::lora {
namespace {

size_t aligned(size_t bytes) {
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

std::vector<size_t> layer_sizes(const DecoderConfig& config, const BlockLayout& layout) {
  return std::vector<size_t>(size_t(config.layers), layout.bytes);
}

}  // namespace

quant::Format format_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return quant::Format::kF32;
    case DType::kBF16:
      return quant::Format::kBF16;
    case DType::kF16:
      return quant::Format::kF16;
    default:
      break;
  }
  fail("a weight of type {} cannot be used", name_of(dtype));
}

BlockLayout::BlockLayout(const DecoderConfig& c, const BaseFormat& format) {
  const int64_t q = c.q_size(), kv = c.kv_size();
  const std::array<std::array<int64_t, 2>, kAllSites.size()> shapes = {{{q, c.hidden},
                                                                        {kv, c.hidden},
                                                                        {kv, c.hidden},
                                                                        {c.hidden, q},
                                                                        {c.ffn, c.hidden},
                                                                        {c.ffn, c.hidden},
                                                                        {c.hidden, c.ffn}}};
  size_t end = 0;
  for (size_t i = 0; i < kAllSites.size(); ++i) {
    spec[i] = {.format = format.linear,
               .rows = shapes[i][0],
               .cols = shapes[i][1],
               .block = format.block,
               .double_quant = format.double_quant};
    offset[i] = end;
    end = aligned(end + spec[i].bytes());
  }
  const size_t norm_bytes = aligned(size_t(c.hidden) * size_of(format.norm));
  attention_norm = end;
  mlp_norm = end + norm_bytes;
  bytes = end + 2 * norm_bytes;
}

OuterLayout::OuterLayout(const DecoderConfig& c, const BaseFormat& format) {
  const size_t elements = size_t(c.vocab * c.hidden);
  norm = aligned(elements * size_of(format.embedding));
  const size_t norm_end = norm + aligned(size_t(c.hidden) * size_of(format.norm));
  head = c.tied_head ? 0 : norm_end;
  bytes = c.tied_head ? norm_end : norm_end + elements * size_of(format.head);
}

parallel::Sharding outer_sharding(parallel::Sharding layers, Device device) {
  using Mode = parallel::Sharding::Mode;
  const bool everywhere = layers.mode == Mode::kReplicate || device.is_cuda();
  return {everywhere ? Mode::kReplicate : Mode::kHost, 0};
}

BaseWeights::BaseWeights(const DecoderConfig& config, const BaseFormat& format, Device device)
    : device_(device),
      config_(config),
      format_(format),
      layout_(config, format),
      outer_layout_(config, format),
      store_(layer_sizes(config, layout_)),
      outer_({&outer_layout_.bytes, 1}) {}

BaseWeights::BaseWeights(Context& ctx, const DecoderConfig& config, const BaseFormat& format,
                         Placement placement)
    : device_(ctx.device()),
      config_(config),
      format_(format),
      layout_(config, format),
      outer_layout_(config, format),
      store_(ctx, placement.world, placement.sharding, layer_sizes(config, layout_)),
      outer_(ctx, placement.world, outer_sharding(placement.sharding, ctx.device()),
             {&outer_layout_.bytes, 1}) {}

Tensor BaseWeights::outer_tensor(size_t offset, DType dtype,
                                 std::initializer_list<int64_t> shape) const {
  // A Tensor has no const variant; nothing writes through these.
  std::byte* data =
      outer_.in_place() ? const_cast<std::byte*>(outer_.whole(0).data()) + offset : nullptr;
  return Tensor(data, dtype, shape, device_);
}

Tensor BaseWeights::embedding() const {
  return outer_tensor(0, format_.embedding, {config_.vocab, config_.hidden});
}

Tensor BaseWeights::final_norm() const {
  return outer_tensor(outer_layout_.norm, format_.norm, {config_.hidden});
}

Tensor BaseWeights::head_weight() const {
  return outer_tensor(outer_layout_.head, config_.tied_head ? format_.embedding : format_.head,
                      {config_.vocab, config_.hidden});
}

quant::FrozenMatrix BaseWeights::head() const {
  const Tensor w = head_weight();
  return quant::FrozenMatrix(
      {.format = format_of(w.dtype()), .rows = config_.vocab, .cols = config_.hidden},
      static_cast<const std::byte*>(w.raw()));
}

}  // namespace tessera::lora
