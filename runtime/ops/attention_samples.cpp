#include "runtime/ops/attention_samples.h"

#include <algorithm>
#include <functional>

#include "runtime/ops/transfer.h"

namespace tessera {
namespace {

std::vector<AttentionTile> cut(std::span<const int32_t> starts, int rows,
                               AttentionSamples::Owner owner) {
  std::vector<AttentionTile> tiles;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int32_t begin = starts[s], end = starts[s + 1] - begin;
    for (int32_t at = 0; at < end; at += rows) tiles.push_back({begin + at, begin, at, end});
  }
  const auto work = [owner](const AttentionTile& t) {
    return owner == AttentionSamples::Owner::kKeys ? t.end - t.position : t.position;
  };
  std::ranges::stable_sort(tiles, std::greater{}, work);
  return tiles;
}

}  // namespace

AttentionSamples::AttentionSamples(Context& ctx, Arena& arena, std::span<const int32_t> starts,
                                   int tables)
    : starts_(starts.begin(), starts.end()), tables_(size_t(tables)) {
  TESSERA_CHECK(!starts_.empty() && starts_.front() == 0);
  TESSERA_CHECK(std::ranges::is_sorted(starts_));
  if (!ctx.device().is_cuda()) return;
  for (Table& table : tables_) {
    table.memory = arena.tensor(DType::kI32, {tokens(), int64_t(sizeof(AttentionTile) / 4)});
  }
}

AttentionSamples::Tiles AttentionSamples::tiles(Context& ctx, int rows, Owner owner) {
  const auto table = std::ranges::find_if(
      tables_, [&](const Table& t) { return t.rows == 0 || (t.rows == rows && t.owner == owner); });
  TESSERA_CHECK(table != tables_.end());
  const bool gpu = ctx.device().is_cuda();
  if (table->rows == 0) {
    table->rows = rows;
    table->owner = owner;
    table->tiles = cut(starts_, rows, owner);
    table->count = int64_t(table->tiles.size());
    if (gpu) {
      upload(ctx, table->memory.raw(), table->tiles.data(),
             table->tiles.size() * sizeof(AttentionTile));
      table->tiles = {};
    }
  }
  return {gpu ? static_cast<const AttentionTile*>(table->memory.raw()) : table->tiles.data(),
          table->count};
}

}  // namespace tessera
