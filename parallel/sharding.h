// How the frozen layers are dealt over the ranks: which ranks hold them together, and what each
// holds. Arithmetic only, the same for the store and for plans.
#pragma once

#include <cstddef>

#include "runtime/core/device.h"

namespace tessera::parallel {

/// How the layers are dealt.
struct Sharding {
  enum class Mode {
    kReplicate,  // every rank holds every layer
    kFull,       // one shard per rank, over all ranks
    kHybrid,     // as kFull inside a group of ranks; every group holds all
    kHost,       // one copy per node, which its ranks read in place
  };
  Mode mode = Mode::kReplicate;
  int group = 0;  // ranks of a group of kHybrid; 0: the ranks of a node

  bool operator==(const Sharding&) const = default;
};

/// A layer's blob once padded for `ranks` equal shards, each aligned for any tensor.
size_t padded_layer_bytes(size_t bytes, int ranks);

/// Ranks with the same number hold the layers together, in the order of their ranks. `node` as
/// Communicator::node().
int sharding_colour(Sharding sharding, int rank, int node);

/// Error (usage) where so many ranks cannot be dealt into the groups asked for.
void check_sharding(Sharding sharding, int ranks);

/// Whether operators read the layers where they lie, so that nothing is gathered: what lies whole
/// with a rank, and on the CPU the node's copy.
bool reads_in_place(Sharding::Mode mode, int members, Device device);

/// What a member of a sharding group of `members` holds of a layer's padded blob.
struct ShardRange {
  size_t begin, end;
  size_t bytes() const { return end - begin; }
};
ShardRange shard_range(Sharding::Mode mode, int member, int members, size_t layer_bytes);

}  // namespace tessera::parallel
