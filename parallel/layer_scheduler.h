// Decides, layer by layer, what is gathered, kept, recomputed and offloaded, and hands out a
// layer's bytes. acquire() returns a lease: the blob is whole and valid while the lease lives, and
// at most one lives at a time. While one layer is used, the next of the pass is gathered into a
// second slot by the comm stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/sharded_store.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::parallel {

/// What a group's forward leaves behind for its backward.
enum class Policy {
  kKeep,       // all activations
  kRecompute,  // the group's input only; backward runs the group's forward again
  kOffload,    // as kRecompute, with the input moved to host memory and back
};

/// Consecutive layers under one policy.
struct LayerGroup {
  int64_t first;
  int64_t count;
  Policy policy;
};
/// Groups of `size` layers, the last one shorter, all under `policy`.
std::vector<LayerGroup> uniform_groups(int64_t layers, Policy policy, int64_t size);
/// Groups of `size` layers under `policy`, and the last `kept` layers kept.
std::vector<LayerGroup> layer_groups(Policy policy, int64_t size, int64_t kept, int64_t layers);

class LayerScheduler;

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
  /// The groups cover all layers in order. The last group is always kept: backward begins with it,
  /// so that keeping it costs no peak and saves its second forward.
  void set_groups(std::vector<LayerGroup> groups);
  std::span<const LayerGroup> groups() const { return groups_; }

  /// The layers that forward visits, in order; with `training`, those of backward after them.
  std::vector<int64_t> visits(bool training) const;
  /// Starts a pass that will acquire the layers of `visits` in that order. Where gathers are
  /// collective, every rank of the sharding group starts the same passes.
  void begin_pass(std::vector<int64_t> visits);
  /// Operators enqueued from now on wait until the pass's next layer, which is `layer`, is whole.
  /// Starts the gather of the one after it.
  LayerLease acquire(int64_t layer);
  /// Goes through a pass without using its layers: for a rank that has no batch while others of its
  /// group do.
  void idle_pass(std::vector<int64_t> visits);

  /// Memory of the slots, in bytes: none where layers are read in place.
  static constexpr int kSlots = 2;
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
  std::vector<int64_t> visits_;
  size_t next_visit_ = 0;
  Slot slots_[kSlots];  // empty until first used
  double waited_ = 0;
};

}  // namespace tessera::parallel
