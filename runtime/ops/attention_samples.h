// The samples of a batch, and the tiles into which attention cuts them. Made once for a batch and
// used by all layers: tiles are cut, and on a GPU copied there, when the first layer asks for them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// Consecutive tokens of one sample: what a block of a GPU, or a task of the CPU, works on.
struct AttentionTile {
  int32_t row;       // of the tile's first token among all tokens (of a decode, among the queries)
  int32_t begin;     // row of the sample's first token among the keys
  int32_t position;  // of the tile's first token in its sample
  int32_t end;       // tokens of the sample
};

class AttentionSamples {
 public:
  AttentionSamples() = default;
  /// starts[S+1]: sample s is rows [starts[s], starts[s+1]), from 0. On a GPU takes room from the
  /// arena for `tables` tables of tiles: one for a forward, three for a backward too. The memory
  /// has to stay until the last use.
  AttentionSamples(Context& ctx, Arena& arena, std::span<const int32_t> starts, int tables);

  int64_t tokens() const { return starts_.empty() ? 0 : starts_.back(); }
  std::span<const int32_t> starts() const { return starts_; }

  /// Whose the work of a tile is: queries work on what is before them, keys on what is behind.
  enum class Owner { kQueries, kKeys };
  struct Tiles {
    const AttentionTile* first;  // where the context computes
    int64_t count;
  };
  /// All samples cut into tiles of `rows` tokens, those with the most work first, so that the last
  /// tasks to start are short.
  Tiles tiles(Context& ctx, int rows, Owner owner);

 private:
  struct Table {
    int rows = 0;  // not cut yet
    Owner owner = Owner::kQueries;
    Tensor memory;                     // of a GPU: a tile for each token, since no tile is empty
    std::vector<AttentionTile> tiles;  // of the CPU
    int64_t count = 0;
  };
  std::vector<int32_t> starts_;
  std::vector<Table> tables_;
};

}  // namespace tessera
