// The frozen layers' bytes, dealt over the ranks. A layer is one blob, padded so that shard r is
// the r-th of n equal byte ranges of it. Bytes only: what they mean is the business of lora/.
// Filled once, while loading, then never written again, so that ranks of one node read each other's
// shards without a rendezvous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/sharding.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::parallel {

/// Bytes [offset, offset + bytes) of a layer's blob.
struct BlobPart {
  int64_t layer;
  size_t offset;
  size_t bytes;
};

class ShardedStore {
 public:
  /// Sizes only, without memory: what a plan runs the model's code over.
  explicit ShardedStore(std::span<const size_t> layer_bytes);
  /// layer_bytes[l] is the size of layer l's blob. Collective over `world`, which is used until the
  /// last distribute(). On a GPU shards lie there, but with kHost. Error (usage) where the ranks
  /// cannot be dealt as asked.
  ShardedStore(Context& ctx, Communicator& world, Sharding sharding,
               std::span<const size_t> layer_bytes);

  int64_t layers() const { return int64_t(layer_bytes_.size()); }
  size_t layer_bytes(int64_t layer) const { return layer_bytes_[size_t(layer)]; }
  size_t padded_bytes(int64_t layer) const { return padded_bytes_[size_t(layer)]; }
  /// Bytes that this rank holds in all.
  size_t resident_bytes() const { return mine_.size(); }

  /// Collective over the world: parts[r] is what rank r has in `mine` (nothing if bytes is 0), and
  /// every rank keeps what falls into its shards. All ranks pass the same parts.
  void distribute(std::span<const BlobPart> parts, std::span<const std::byte> mine);
  /// To be called by all ranks after the last distribute(), before anything is read.
  void finish_loading();

  /// This rank's shard of a layer; empty where another rank of the node holds it (kHost).
  std::span<const std::byte> shard(int64_t layer) const;
  /// True where every layer lies whole in memory that operators read in place: see whole().
  bool in_place() const { return in_place_; }
  std::span<const std::byte> whole(int64_t layer) const;
  /// True where gather() is a collective call of the sharding group, and false where it only
  /// copies.
  bool gathers_together() const { return !in_place_ && !readable_; }
  /// Makes a layer whole in `slot`, padded_bytes(layer) long, as work of the context's comm stream.
  /// Not where in_place().
  void gather(int64_t layer, std::span<std::byte> slot);

 private:
  ShardRange range_of(int member, int members, int64_t layer) const {
    return shard_range(mode_, member, members, layer_bytes(layer));
  }
  /// What this rank holds of a layer.
  ShardRange my_range(int64_t layer) const {
    return range_of(group_->rank(), group_->size(), layer);
  }
  /// Where a part of this rank's shard lies.
  std::span<std::byte> place_of(const BlobPart& part);
  /// Bytes of the host into this rank's shard.
  void store(const BlobPart& part, std::span<const std::byte> bytes);
  void receive(const BlobPart& part, int from);
  bool on_gpu() const { return gpu_memory_.size() > 0; }

  Context* ctx_ = nullptr;
  Communicator* world_ = nullptr;
  Sharding::Mode mode_ = Sharding::Mode::kReplicate;
  std::vector<size_t> layer_bytes_;
  std::vector<size_t> padded_bytes_;
  std::vector<size_t> begin_;  // of each layer in the memory of every rank that holds some of it
  std::vector<int> member_;    // of each world rank: its rank in its group ...
  std::vector<int> members_;   // ... and that group's size
  std::unique_ptr<Communicator> group_;   // over memory of the device
  std::span<std::byte> mine_;             // this rank's shards, layer after layer, in one of these:
  std::unique_ptr<SharedMemory> memory_;  // of the node
  std::shared_ptr<void> pinned_;          // so that a GPU copies it without the host's help
  Buffer gpu_memory_;
  Buffer received_;  // while loading: on its way to the GPU
  bool in_place_ = false;
  bool readable_ = false;  // all shards of the group can be read by this node
};

}  // namespace tessera::parallel
