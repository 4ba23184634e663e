// Decides, layer by layer, what is gathered, kept and recomputed, and hands out a layer's bytes.
// acquire() returns a lease: the blob is whole and valid while the lease lives. Layers are asked
// for in one direction at a time (up in forward, down in backward), which tells what comes next.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/sharded_store.h"

namespace tessera::parallel {

/// What a layer's forward leaves behind for its backward.
enum class Policy {
  kKeep,       // all activations
  kRecompute,  // the block's input only; backward runs the block's forward again
};

enum class Direction { kUp, kDown };

class LayerLease {
 public:
  explicit LayerLease(std::span<const std::byte> bytes) : bytes_(bytes) {}
  LayerLease(LayerLease&&) = default;
  LayerLease& operator=(LayerLease&&) = default;

  const std::byte* data() const { return bytes_.data(); }

 private:
  std::span<const std::byte> bytes_;
};

class LayerScheduler {
 public:
  LayerScheduler(const ShardedStore& store, std::vector<Policy> policies);

  int64_t layers() const { return store_.layers(); }
  void set_policies(std::vector<Policy> policies);
  Policy policy(int64_t layer) const { return policies_[size_t(layer)]; }
  /// Waits until the layer is whole. A store of one rank holds whole layers, so nothing moves.
  LayerLease acquire(int64_t layer, Direction direction);

 private:
  const ShardedStore& store_;
  std::vector<Policy> policies_;
};

}  // namespace tessera::parallel
