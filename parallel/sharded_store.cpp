#include "parallel/sharded_store.h"

#include <cstring>

#include "runtime/core/arena.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

ShardedStore::ShardedStore(Communicator& group, std::span<const size_t> layer_bytes)
    : layer_bytes_(layer_bytes.begin(), layer_bytes.end()) {
  TESSERA_CHECK(group.size() == 1);
  size_t total = 0;
  for (size_t bytes : layer_bytes_) {
    const size_t padded = (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
    begin_.push_back(total);
    shard_bytes_.push_back(padded);
    total += padded;
  }
  memory_ = Buffer::host(total);
}

void ShardedStore::put(int64_t layer, size_t offset, std::span<const std::byte> bytes) {
  TESSERA_CHECK(offset + bytes.size() <= layer_bytes(layer));
  std::memcpy(memory_.data() + begin_[size_t(layer)] + offset, bytes.data(), bytes.size());
}

std::span<const std::byte> ShardedStore::shard(int64_t layer) const {
  return {memory_.data() + begin_[size_t(layer)], shard_bytes_[size_t(layer)]};
}

}  // namespace tessera::parallel
