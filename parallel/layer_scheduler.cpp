#include "parallel/layer_scheduler.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/core/error.h"

namespace tessera::parallel {

size_t slot_bytes(std::span<const size_t> padded_layers) {
  size_t largest = 0;
  for (size_t bytes : padded_layers) largest = std::max(largest, bytes);
  return kGatherSlots * largest;
}

LayerLease::LayerLease(LayerLease&& other) noexcept
    : scheduler_(std::exchange(other.scheduler_, nullptr)), data_(other.data_) {}

LayerLease::~LayerLease() {
  if (scheduler_) scheduler_->release(data_);
}

LayerScheduler::LayerScheduler(Context& ctx, ShardedStore& store) : ctx_(ctx), store_(store) {
  set_groups(uniform_groups(store.layers(), Policy::kKeep, 1));
}

LayerScheduler::~LayerScheduler() {
  // A gather under way writes into a slot, so it must end first. Its error no longer matters: no
  // layer will be acquired.
  for (Slot& slot : slots_) {
    try {
      slot.ready.wait();
    } catch (...) {
    }
  }
}

void LayerScheduler::set_groups(std::vector<LayerGroup> groups) {
  TESSERA_CHECK(int64_t(visits_of(groups, false).size()) == layers());
  groups_ = std::move(groups);
}

std::span<const Visit> LayerScheduler::begin_pass(bool training) {
  visits_ = visits_of(groups_, training);
  next_visit_ = 0;
  if (ctx_.measuring() || store_.in_place()) return visits_;
  // Two groups of a GPU must not communicate at once. The exchange of gradients runs on the compute
  // stream, so the comm stream waits for it before the first gather. After a training pass that
  // costs nothing: the layers that this pass begins with are in the slots still.
  ctx_.comm_stream().wait(ctx_.compute_stream().record());
  return visits_;
}

LayerLease LayerScheduler::acquire(int64_t layer) {
  TESSERA_CHECK(next_visit_ < visits_.size() && visits_[next_visit_].layer == layer);
  ++next_visit_;
  if (ctx_.measuring()) return LayerLease(nullptr, nullptr);
  if (store_.in_place()) return LayerLease(nullptr, store_.whole(layer).data());
  Slot* slot = find(layer);
  if (!slot) slot = &start_gather(layer);
  const auto begin = std::chrono::steady_clock::now();
  {
    const PartScope part(ctx_.timeline(), ComputePart::kGather);
    ctx_.compute_stream().wait(slot->ready);
  }
  if (!ctx_.device().is_cuda()) {
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  slot->leased = true;
  const std::optional<int64_t> ahead = next_gather(visits_, next_visit_ - 1);
  if (ahead && !find(*ahead)) start_gather(*ahead);
  return LayerLease(this, slot->memory.data());
}

void LayerScheduler::idle_pass(bool training) {
  if (!store_.gathers_together()) return;
  for (const Visit& visit : begin_pass(training)) acquire(visit.layer);
}

size_t LayerScheduler::slot_bytes() const {
  if (store_.in_place()) return 0;
  std::vector<size_t> padded;
  for (int64_t l = 0; l < layers(); ++l) padded.push_back(store_.padded_bytes(l));
  return parallel::slot_bytes(padded);
}

LayerScheduler::Slot* LayerScheduler::find(int64_t layer) {
  const auto slot = std::ranges::find(slots_, layer, &Slot::layer);
  return slot == std::end(slots_) ? nullptr : &*slot;
}

LayerScheduler::Slot& LayerScheduler::start_gather(int64_t layer) {
  const auto slot = std::ranges::find(slots_, false, &Slot::leased);
  TESSERA_CHECK(slot != std::end(slots_));
  if (slot->memory.size() == 0) {
    slot->memory = Buffer::on(ctx_.device(), slot_bytes() / kGatherSlots);
  }
  slot->layer = layer;
  ctx_.comm_stream().wait(slot->free);
  ctx_.comm_stream().enqueue(
      [&store = store_, layer, to = std::span(slot->memory.data(), store_.padded_bytes(layer))] {
        store.gather(layer, to);
      });
  slot->ready = ctx_.comm_stream().record();
  return *slot;
}

void LayerScheduler::release(const std::byte* data) {
  for (Slot& slot : slots_) {
    if (slot.memory.data() != data) continue;
    slot.leased = false;
    try {  // at the end of a lease, perhaps because of an exception
      slot.free = ctx_.compute_stream().record();
    } catch (const Error&) {  // a device that has failed says so to whoever waits for it next
    }
  }
}

}  // namespace tessera::parallel
