#include "lora/model/base_weights.h"

#include <algorithm>

namespace tessera::lora {

parallel::Sharding outer_sharding(parallel::Sharding layers, Device device) {
  using Mode = parallel::Sharding::Mode;
  const bool everywhere = layers.mode == Mode::kReplicate || device.is_cuda();
  return {everywhere ? Mode::kReplicate : Mode::kHost, 0};
}

BaseWeights::BaseWeights(const ModelSpec& spec, const BaseFormat& format, Device device)
    : device_(device),
      spec_(spec),
      layout_(spec, format),
      store_(layout_.layer_bytes()),
      outer_({&layout_.outer.bytes, 1}) {}

BaseWeights::BaseWeights(Context& ctx, const ModelSpec& spec, const BaseFormat& format,
                         Placement placement)
    : device_(ctx.device()),
      spec_(spec),
      layout_(spec, format),
      store_(ctx, placement.world, placement.sharding, layout_.layer_bytes()),
      outer_(ctx, placement.world, outer_sharding(placement.sharding, ctx.device()),
             {&layout_.outer.bytes, 1}) {}

Tensor BaseWeights::outer_tensor(Role role) const {
  const auto& tensors = layout_.outer.tensors;
  const auto found = std::ranges::find(tensors, role, [](const auto& t) { return t.row.role; });
  TESSERA_CHECK(found != tensors.end());
  const std::byte* blob = outer_.in_place() ? outer_.whole(0).data() : nullptr;
  return found->tensor_in(blob, device_);
}

quant::FrozenMatrix BaseWeights::head() const {
  const Tensor w = outer_tensor(spec_.tied_head ? Role::kEmbedding : Role::kHead);
  return quant::FrozenMatrix({{quant::format_of(w.dtype())}, spec_.vocab, spec_.hidden},
                             static_cast<const std::byte*>(w.raw()));
}

}  // namespace tessera::lora
