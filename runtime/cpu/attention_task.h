// What a task of CPU attention works on: pointers into the operands, and its thread's tiles.
// A task owns every float it writes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "runtime/cpu/gemm.h"
#include "runtime/ops/attention.h"

namespace tessera::cpu {

inline constexpr int64_t kAttentionTile = 64;  // queries, and keys, of a tile
inline constexpr int64_t kMaxHeadDim = 256;
static_assert(kAttentionTile == kPanelCols);
static_assert(kAttentionAlignment % kAttentionTile == 0);

/// The window as the mask wants it: none is one that no position exceeds.
inline int64_t window_of(const AttentionShape& shape) {
  return shape.window > 0 ? shape.window : std::numeric_limits<int32_t>::max();
}

/// The first tile of keys that a query at `position` sees.
inline int64_t first_key_tile(int64_t position, int64_t window) {
  return std::max<int64_t>(0, position - window + 1) / kAttentionTile * kAttentionTile;
}

/// At most kAttentionTile query rows that read one kv head.
struct AttentionRows {
  const float* q;     // row i at q + i * q_stride
  const float* k;     // position t at k + t * kv_stride
  const float* v;     // likewise
  float* out;         // row i at out + i * q_stride
  float* lse;         // [rows], or null
  int64_t q_stride;   // floats
  int64_t kv_stride;  // floats
  int64_t rows;
  int64_t position;  // of row 0: the row sees keys up to this one
  int64_t step;      // 1: row i is at position + i; 0: all rows are at `position`
  const AttentionShape& shape;
};

/// One kv head of one sample and the `group` query heads that read it, all at the sample's row 0.
struct AttentionGroup {
  const float *q, *k, *v, *out, *dout;
  const float* lse;
  float *dq, *dk, *dv;
  int64_t length;  // rows of the sample
  int64_t group;
  int64_t q_stride, kv_stride;  // floats from row to row
  int64_t lse_stride;           // floats from head to head
  AttentionShape shape;
};

using AttentionMatrix = float[kAttentionTile * kAttentionTile];
/// 64 rows of a head as panels of 64 columns, or its transpose as one panel of head_dim rows.
using AttentionPanels = float[kAttentionTile * kMaxHeadDim];

/// Aggregates that live in zero-filled, page-aligned memory of a thread.
struct AttentionForwardTiles {
  AttentionMatrix scores;
  AttentionPanels keys, values;
  AttentionPanels out;  // row pitch: head_dim rounded up to 16
  float sums[kAttentionTile * 16];
  float maximum[kAttentionTile], previous[kAttentionTile];
};
struct AttentionBackwardTiles {
  AttentionMatrix p, ds;
  AttentionPanels keys, keys_transposed, values_transposed;
  AttentionPanels queries, douts;
  AttentionPanels dk, dv;  // row pitch: head_dim rounded up to 16
  float delta[kAttentionTile];
};

inline int64_t round_up_16(int64_t n) { return (n + 15) / 16 * 16; }

}  // namespace tessera::cpu
