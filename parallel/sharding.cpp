#include "parallel/sharding.h"

#include "runtime/core/arena.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

size_t padded_layer_bytes(size_t bytes, int ranks) {
  const size_t unit = Arena::kAlignment * size_t(ranks);
  return (bytes + unit - 1) / unit * unit;
}

int sharding_colour(Sharding sharding, int rank, int node) {
  switch (sharding.mode) {
    case Sharding::Mode::kReplicate:
      return rank;
    case Sharding::Mode::kFull:
      return 0;
    case Sharding::Mode::kHybrid:
      return sharding.group == 0 ? node : rank / sharding.group;
    case Sharding::Mode::kHost:
      return node;
  }
  return 0;
}

void check_sharding(Sharding sharding, int ranks) {
  if (sharding.mode != Sharding::Mode::kHybrid || sharding.group == 0) return;
  if (ranks % sharding.group == 0) return;
  fail_usage("sharding_group: {} ranks cannot be dealt into groups of {}; use a divisor", ranks,
             sharding.group);
}

bool reads_in_place(Sharding::Mode mode, int members, Device device) {
  return mode == Sharding::Mode::kHost ? !device.is_cuda() : members == 1;
}

ShardRange shard_range(Sharding::Mode mode, int member, int members, size_t layer_bytes) {
  const size_t padded = padded_layer_bytes(layer_bytes, members);
  if (mode == Sharding::Mode::kHost) return {0, member == 0 ? padded : 0};
  const size_t shard = padded / size_t(members);
  return {size_t(member) * shard, size_t(member + 1) * shard};
}

}  // namespace tessera::parallel
