#include "lora/decoder/forward.h"

#include <utility>

namespace tessera::lora {

Tensor run_layers(Decoder& decoder, const BatchView& batch, AttendAt attend, SeeOutput see) {
  const int64_t n = batch.tokens(), c = decoder.spec().hidden;
  Context& ctx = decoder.context();
  Arena& arena = decoder.activations();
  const std::span<const parallel::Visit> visits = decoder.scheduler().begin_pass(false);
  arena.release(0);
  PlacedBatch placed = decoder.place(batch, 1);
  const BlockInput input = decoder.input_of(placed);
  Tensor x = decoder.activation(n, c), y = decoder.activation(n, c);
  decoder.embed(x, batch, std::nullopt);
  see(-1, x);
  for (const parallel::Visit& visit : visits) {
    const parallel::LayerLease lease = decoder.scheduler().acquire(visit.layer);
    const Block block = decoder.bind(lease, visit.layer, {}, {});
    ArenaScope scope(arena);
    BlockSaved saved = allocate_saved(arena, block, x);
    block_forward(ctx, y, saved, block, input,
                  [&](BlockSaved& s) { attend(visit.layer, s, block, input); });
    std::swap(x, y);
    see(visit.layer, x);
  }
  return x;
}

}  // namespace tessera::lora
