// Decides, layer by layer, what is gathered, kept, recomputed and offloaded, and hands out a
// layer's bytes. acquire() returns a lease: the blob is whole and valid while the lease lives, and
// at most one lives at a time. While one layer is used, the next of the pass is gathered into a
// second slot by the comm stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/schedule.h"
#include "parallel/sharded_store.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::parallel {

class LayerScheduler;

/// Memory of the slots in which layers of these sizes are gathered (see padded_layer_bytes()), in
/// bytes.
size_t slot_bytes(std::span<const size_t> padded_layers);

class LayerLease {
 public:
  LayerLease(LayerLease&& other) noexcept;
  LayerLease& operator=(LayerLease&&) = delete;
  ~LayerLease();

  /// Null while the context measures.
  const std::byte* data() const { return data_; }

 private:
  friend class LayerScheduler;
  LayerLease(LayerScheduler* scheduler, const std::byte* data)
      : scheduler_(scheduler), data_(data) {}

  LayerScheduler* scheduler_;
  const std::byte* data_;
};

class LayerScheduler {
 public:
  /// All layers kept until set_groups() says otherwise. The context and the store outlive it.
  LayerScheduler(Context& ctx, ShardedStore& store);
  ~LayerScheduler();

  int64_t layers() const { return store_.layers(); }
  /// The groups cover all layers in order; visits_of() makes of them what a pass visits.
  void set_groups(std::vector<LayerGroup> groups);

  /// Starts a pass whose layers will be acquired in the order of its visits, which are valid until
  /// the next call. Where gathers are collective, every rank of the sharding group starts the same
  /// passes.
  std::span<const Visit> begin_pass(bool training);
  /// Operators enqueued from now on wait until the pass's next layer, which is `layer`, is whole.
  /// Starts the gather of the one after it.
  LayerLease acquire(int64_t layer);
  /// Takes part in the gathers of a pass that other ranks run: what a rank calls that has no batch
  /// while others of its group have. Does nothing where gathers are not collective.
  void idle_pass(bool training);

  /// Memory of the slots, in bytes: none where layers are read in place.
  size_t slot_bytes() const;
  /// Seconds that acquire() has waited for gathers so far. Zero on a GPU, whose stream waits.
  double waited_seconds() const { return waited_; }

 private:
  friend class LayerLease;
  struct Slot {
    Buffer memory;
    int64_t layer = -1;
    bool leased = false;
    Event ready;  // its bytes have come
    Event free;   // the operators that read them have run
  };
  Slot* find(int64_t layer);
  Slot& start_gather(int64_t layer);
  void release(const std::byte* data);

  Context& ctx_;
  ShardedStore& store_;
  std::vector<LayerGroup> groups_;
  std::vector<Visit> visits_;
  size_t next_visit_ = 0;
  Slot slots_[kGatherSlots];  // empty until first used
  double waited_ = 0;
};

}  // namespace tessera::parallel
