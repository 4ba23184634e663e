// What the forward and the backward of attention share: packing, the causal mask, products over
// the panels of a head. Products skip what the mask zeroes; a skipped term would have added 0.
// Include inside a foreach_target file only.
#if defined(TESSERA_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_ATTENTION_INL_H_
#undef TESSERA_ATTENTION_INL_H_
#else
#define TESSERA_ATTENTION_INL_H_
#endif

#include "runtime/cpu/attention_task.h"
#include "runtime/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// Row i of a tile sees the tile's keys [hidden(i), seen(i)).
struct CausalMask {
  int64_t first;   // keys that row 0 would see, were the tile endless; may be negative
  int64_t step;    // more keys per row
  int64_t keys;    // in the tile
  int64_t window;  // at most so many of them, the last ones

  int64_t seen(int64_t row) const { return std::clamp<int64_t>(first + row * step, 0, keys); }
  int64_t hidden(int64_t row) const {
    return std::clamp<int64_t>(first + row * step - window, 0, keys);
  }
  bool covers_all(int64_t rows) const { return seen(0) == kAttentionTile && hidden(rows - 1) == 0; }
};

/// The lanes of `a`, at columns [column, column + 16), that `row` sees, and `other` in the rest.
HWY_INLINE Vec16 keep_seen16(const Vec16& a, int64_t column, const CausalMask& mask, int64_t row,
                             float other) {
  const D d;
  Vec16 r;
  const V begin = hn::Set(d, float(mask.hidden(row)));
  const V end = hn::Set(d, float(mask.seen(row)));
  for (int p = 0; p < kParts; ++p) {
    const V lane = hn::Iota(d, float(column + p * kLanes));
    r.part[p] = hn::IfThenElse(hn::And(hn::Ge(lane, begin), hn::Lt(lane, end)), a.part[p],
                               hn::Set(d, other));
  }
  return r;
}

/// The logits of raw products.
HWY_INLINE Vec16 logits16(const Vec16& product, const AttentionShape& shape) {
  const Vec16 x = mul16(product, set16(shape.scale));
  return shape.softcap > 0 ? cap16(x, shape.softcap) : x;
}

/// `rows` rows of a head, as panels of 64 columns, zero from head_dim to the next multiple of 16.
HWY_INLINE void pack_head(const float* from, int64_t stride, int64_t rows, int64_t head_dim,
                          float* panels) {
  for (int64_t j = 0; j < head_dim; j += kPanelCols) {
    const int64_t cols = std::min(kPanelCols, head_dim - j);
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = from + i * stride + j;
      float* to = panels + j * kAttentionTile + i * kPanelCols;
      int64_t c = 0;
      for (; c + 16 <= cols; c += 16) store16(load16(row + c), to + c);
      if (c < cols) store16(load16(row + c, cols - c), to + c);
    }
  }
}

/// out[., cols] (+)= A * the panels that pack_head wrote, from their row `t.panel` on.
HWY_INLINE void multiply_head(TileTerm t, const GemmOutput& out) {
  const float* panels = t.panel;
  for (int64_t j = 0; j < out.cols; j += kPanelCols) {
    GemmOutput part = out;
    part.c += j;
    part.cols = std::min(kPanelCols, out.cols - j);
    t.panel = panels + j * kAttentionTile;
    multiply_panel(t, part);
  }
}

/// visit(row, rows, keys) over groups of rows of which none sees more than the first `keys` keys:
/// one group for a whole tile, the register tile's rows along the diagonal.
template <class Visit>
HWY_INLINE void for_row_groups(const CausalMask& mask, int64_t rows, Visit visit) {
  if (mask.seen(0) == mask.keys) return visit(0, rows, mask.keys);
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const int64_t n = std::min<int64_t>(kTileRows, rows - r);
    const int64_t keys = mask.seen(r + n - 1);
    if (keys > 0) visit(r, n, keys);
  }
}

/// scores[row][key] = a[row] * the transposed keys; unseen keys may be left unwritten.
HWY_INLINE void multiply_keys(const TileTerm& t, const CausalMask& mask, int64_t rows,
                              float* scores) {
  for_row_groups(mask, rows, [&](int64_t row, int64_t count, int64_t keys) HWY_ATTR {
    TileTerm part = t;
    part.a += row * t.row_stride;
    multiply_panel(
        part, {scores + row * kAttentionTile, count, round_up_16(keys), kAttentionTile, false});
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
