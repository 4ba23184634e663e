#include "lora/decoder/offloaded_inputs.h"

namespace tessera::lora {
namespace {

/// When the operators enqueued so far have written `from` and read what `to` held.
Event start_copy(Context& ctx, Tensor to, Tensor from) {
  if (ctx.measuring()) return {};
  ctx.copy_stream().wait(ctx.compute_stream().record());
  ctx.copy_stream().copy(to.raw(), from.raw(), from.bytes());
  return ctx.copy_stream().record();
}

}  // namespace

void OffloadedInputs::settle() {
  for (Slot& slot : slots_) {
    try {
      slot.moved.wait();
    } catch (...) {  // a copy cannot fail; a stream that broke has told whoever used it
    }
  }
}

void OffloadedInputs::set_host(Arena arena) {
  settle();
  host_ = std::move(arena);
}

void OffloadedInputs::begin(Arena& device, int64_t count, Tensor like) {
  settle();  // a pass that was broken off
  slots_ = {};
  inputs_.clear();
  host_.release(0);
  if (count == 0) return;
  const auto take = [&](Arena& arena) {
    return arena.tensor(like.dtype(), {like.dim(0), like.dim(1)});
  };
  for (Slot& slot : slots_) slot.tensor = take(device);
  for (int64_t i = 0; i < count; ++i) inputs_.push_back(take(host_));
}

Tensor OffloadedInputs::buffer(Context& ctx, int64_t index) {
  Slot& slot = slot_of(index);
  ctx.compute_stream().wait(slot.moved);
  slot.holds = index;
  return slot.tensor;
}

void OffloadedInputs::put(Context& ctx, int64_t index) {
  Slot& slot = slot_of(index);
  TESSERA_CHECK(slot.holds == index);
  slot.moved = start_copy(ctx, inputs_[size_t(index)], slot.tensor);
}

void OffloadedInputs::fetch(Context& ctx, int64_t index) {
  Slot& slot = slot_of(index);
  if (slot.holds == index) return;  // it never left
  slot.holds = index;
  slot.moved = start_copy(ctx, slot.tensor, inputs_[size_t(index)]);
}

Tensor OffloadedInputs::take(Context& ctx, int64_t index) {
  fetch(ctx, index);
  Slot& slot = slot_of(index);
  ctx.compute_stream().wait(slot.moved);
  if (index > 0) fetch(ctx, index - 1);
  return slot.tensor;
}

}  // namespace tessera::lora
