// The frozen layers' bytes that this rank holds. A layer is one blob; shard r is the r-th of n
// equal byte ranges of the padded blob. Bytes only: what they mean is the business of lora/. Filled
// once, while loading, then never written again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/buffer.h"

namespace tessera::parallel {

class ShardedStore {
 public:
  /// layer_bytes[l] is the size of layer l's blob. Collective. A group of one rank holds whole
  /// blobs.
  ShardedStore(Communicator& group, std::span<const size_t> layer_bytes);

  int64_t layers() const { return int64_t(layer_bytes_.size()); }
  size_t layer_bytes(int64_t layer) const { return layer_bytes_[size_t(layer)]; }
  size_t shard_bytes(int64_t layer) const { return shard_bytes_[size_t(layer)]; }
  /// Bytes that this rank holds in all.
  size_t resident_bytes() const { return memory_.size(); }

  /// Stores `bytes` at `offset` of a layer's blob. The caller is the only writer of that range.
  void put(int64_t layer, size_t offset, std::span<const std::byte> bytes);

  /// This rank's shard; the whole padded blob when the group is one rank.
  std::span<const std::byte> shard(int64_t layer) const;

 private:
  std::vector<size_t> layer_bytes_;
  std::vector<size_t> shard_bytes_;
  std::vector<size_t> begin_;  // of each layer's shard in memory_
  Buffer memory_;
};

}  // namespace tessera::parallel
