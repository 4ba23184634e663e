#include "parallel/sharded_store.h"

#include <algorithm>

#include "parallel/device_group.h"
#include "runtime/core/arena.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera::parallel {

ShardedStore::ShardedStore(std::span<const size_t> layer_bytes)
    : layer_bytes_(layer_bytes.begin(), layer_bytes.end()) {
  for (size_t bytes : layer_bytes_) padded_bytes_.push_back(padded_layer_bytes(bytes, 1));
}

ShardedStore::ShardedStore(Context& ctx, Communicator& world, Sharding sharding,
                           std::span<const size_t> layer_bytes)
    : ctx_(&ctx),
      world_(&world),
      mode_(sharding.mode),
      layer_bytes_(layer_bytes.begin(), layer_bytes.end()) {
  check_sharding(sharding, world.size());
  group_ = world.split(sharding_colour(sharding, world.rank(), world.node()));
  member_ = gather_values(world, group_->rank());
  members_ = gather_values(world, group_->size());
  size_t end = 0, mine = 0;
  for (int64_t layer = 0; layer < layers(); ++layer) {
    padded_bytes_.push_back(padded_layer_bytes(this->layer_bytes(layer), group_->size()));
    begin_.push_back(end);
    end += range_of(0, group_->size(), layer).bytes();  // member 0 holds no less than any other
    mine += my_range(layer).bytes();
  }
  const bool gpu = ctx.device().is_cuda(), host = mode_ == Sharding::Mode::kHost;
  in_place_ = reads_in_place(mode_, group_->size(), ctx.device());
  if (gpu && !host) {
    gpu_memory_ = Buffer::on(ctx.device(), mine);
    mine_ = {gpu_memory_.data(), mine};
    group_ = device_group(std::move(group_), ctx, ctx.comm_stream());
    return;
  }
  memory_ = group_->share(mine);
  mine_ = memory_->mine();
  readable_ = true;
  for (int member = 0; member < group_->size(); ++member) {
    readable_ = readable_ && memory_->of(member).has_value();
  }
  if (host && !readable_) {
    fail_usage("sharding: host needs memory that the ranks of a node can share; use full");
  }
  if constexpr (kHasCuda) {
    if (!gpu) return;
    const std::span<const std::byte> all = *memory_->of(0);
    pinned_ = cuda::pin(all.data(), all.size());
  }
}

std::span<std::byte> ShardedStore::place_of(const BlobPart& part) {
  const size_t in_shard = part.offset - my_range(part.layer).begin;
  return mine_.subspan(begin_[size_t(part.layer)] + in_shard, part.bytes);
}

void ShardedStore::store(const BlobPart& part, std::span<const std::byte> bytes) {
  if (!on_gpu()) {
    std::ranges::copy(bytes, place_of(part).begin());
    return;
  }
  ctx_->copy_stream().copy(place_of(part).data(), bytes.data(), bytes.size());
  ctx_->copy_stream().synchronize();
}

void ShardedStore::receive(const BlobPart& part, int from) {
  if (!on_gpu()) return world_->receive(place_of(part), from);
  if (received_.size() < part.bytes) received_ = Buffer::staging_for(ctx_->device(), part.bytes);
  const std::span<std::byte> bytes(received_.data(), part.bytes);
  world_->receive(bytes, from);
  store(part, bytes);
}

void ShardedStore::distribute(std::span<const BlobPart> parts, std::span<const std::byte> mine) {
  TESSERA_CHECK(int(parts.size()) == world_->size());
  TESSERA_CHECK(parts[size_t(world_->rank())].bytes == mine.size());
  // Every rank goes through the pairs in one order, so the first pair that is left always has both
  // its ranks there, and what arrives goes straight to its place.
  for (int from = 0; from < world_->size(); ++from) {
    const BlobPart& part = parts[size_t(from)];
    if (part.bytes == 0) continue;
    TESSERA_CHECK(part.offset + part.bytes <= layer_bytes(part.layer));
    for (int to = 0; to < world_->size(); ++to) {
      if (from != world_->rank() && to != world_->rank()) continue;
      const ShardRange range = range_of(member_[size_t(to)], members_[size_t(to)], part.layer);
      const size_t begin = std::max(range.begin, part.offset);
      const size_t end = std::min(range.end, part.offset + part.bytes);
      if (begin >= end) continue;
      const BlobPart cut{part.layer, begin, end - begin};
      if (from != world_->rank()) {
        receive(cut, from);
        continue;
      }
      const std::span<const std::byte> bytes = mine.subspan(begin - part.offset, cut.bytes);
      if (to == from) {
        store(cut, bytes);
      } else {
        world_->send(bytes, to);
      }
    }
  }
}

void ShardedStore::finish_loading() {
  received_ = Buffer();
  world_->barrier();
}

std::span<const std::byte> ShardedStore::shard(int64_t layer) const {
  const size_t bytes = my_range(layer).bytes();
  if (bytes == 0) return {};
  return mine_.subspan(begin_[size_t(layer)], bytes);
}

std::span<const std::byte> ShardedStore::whole(int64_t layer) const {
  TESSERA_CHECK(in_place_);
  const std::span<const std::byte> all = on_gpu() ? mine_ : *memory_->of(0);
  return all.subspan(begin_[size_t(layer)], padded_bytes(layer));
}

void ShardedStore::gather(int64_t layer, std::span<std::byte> slot) {
  TESSERA_CHECK(!in_place_ && slot.size() == padded_bytes(layer));
  if (!readable_) return group_->all_gather(shard(layer), slot);
  const size_t begin = begin_[size_t(layer)];
  if (mode_ == Sharding::Mode::kHost) {
    return ctx_->comm_stream().copy(slot.data(), memory_->of(0)->data() + begin, slot.size());
  }
  const size_t bytes = slot.size() / size_t(group_->size());
  for (int member = 0; member < group_->size(); ++member) {
    std::ranges::copy(memory_->of(member)->subspan(begin, bytes),
                      slot.begin() + ptrdiff_t(size_t(member) * bytes));
    memory_->let_go(member, begin, bytes);
  }
}

}  // namespace tessera::parallel
