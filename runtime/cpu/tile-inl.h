// The register tile of every CPU matrix product: a few rows of A times a packed panel of B.
// Each output adds up FMA chains of kChain products, whatever the tile or the vectors, so products
// cut in any way give the same bits. Include inside a foreach_target file only.
#if defined(TESSERA_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_TILE_INL_H_
#undef TESSERA_TILE_INL_H_
#else
#define TESSERA_TILE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "runtime/cpu/gemm.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

// Register tile: 6 rows of A by kTileVectors vectors of B; 24 accumulators on AVX-512, 12 on AVX2.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = kLanes == 16 ? 4 : 2;

/// A[i][k] = a[i * row_stride + k * k_stride]; B[k][n] = panel[k * kPanelCols + n], the panel
/// aligned to 64 bytes.
struct TileTerm {
  const float* a;
  int64_t row_stride;
  int64_t k_stride;
  int64_t depth;
  const float* panel;
};

/// Products that one FMA chain adds up before it joins C. A single chain over all of k would be as
/// fast, but its rounding error grows with the magnitude it carries: over K = 576 and 1,536 short
/// chains lower the error of a whole forward pass by more than half.
inline constexpr int64_t kChain = 128;

/// C tile [kRows, kVectors * kLanes] (+)= A * panel: FMA chains of kChain products, added in order.
template <int kRows, int kVectors>
HWY_INLINE void tile(const TileTerm& t, float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  const D d;
  const float* HWY_RESTRICT b = t.panel;
  const float* HWY_RESTRICT a = t.a;
  for (int64_t begin = 0; begin < t.depth; begin += kChain) {
    V sum[kRows][kVectors];
    HWY_UNROLL(6) for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
    }
    const int64_t end = std::min(begin + kChain, t.depth);
    for (int64_t k = begin; k < end; ++k, b += kPanelCols, a += t.k_stride) {
      V column[kVectors];
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
        column[j] = hn::Load(d, b + j * kLanes);
        if (j * kLanes % 16 == 0) __builtin_prefetch(b + 8 * kPanelCols + j * kLanes);
      }
      HWY_UNROLL(6) for (int i = 0; i < kRows; ++i) {
        const V broadcast = hn::Set(d, a[i * t.row_stride]);
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
          sum[i][j] = hn::MulAdd(broadcast, column[j], sum[i][j]);
        }
      }
    }
    const bool join = accumulate || begin > 0;
    HWY_UNROLL(6) for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
        float* to = c + i * ldc + j * kLanes;
        hn::StoreU(join ? hn::Add(hn::LoadU(d, to), sum[i][j]) : sum[i][j], d, to);
      }
    }
  }
}

template <int kVectors>
HWY_INLINE void tile_rows(int64_t rows, const TileTerm& t, float* c, int64_t ldc, bool accumulate) {
  switch (rows) {
    case 6:
      return tile<6, kVectors>(t, c, ldc, accumulate);
    case 5:
      return tile<5, kVectors>(t, c, ldc, accumulate);
    case 4:
      return tile<4, kVectors>(t, c, ldc, accumulate);
    case 3:
      return tile<3, kVectors>(t, c, ldc, accumulate);
    case 2:
      return tile<2, kVectors>(t, c, ldc, accumulate);
    case 1:
      return tile<1, kVectors>(t, c, ldc, accumulate);
  }
}

HWY_INLINE void tile_any(int64_t rows, int vectors, const TileTerm& t, float* c, int64_t ldc,
                         bool accumulate) {
  if constexpr (kTileVectors == 4) {
    if (vectors == 4) return tile_rows<4>(rows, t, c, ldc, accumulate);
    if (vectors == 3) return tile_rows<3>(rows, t, c, ldc, accumulate);
  }
  if (vectors == 2) return tile_rows<2>(rows, t, c, ldc, accumulate);
  tile_rows<1>(rows, t, c, ldc, accumulate);
}

/// out (+)= A * panel for at most kPanelCols columns; any number of rows.
inline void multiply_panel(const TileTerm& term, const GemmOutput& out) {
  HWY_ALIGN float edge[kTileRows * kPanelCols];
  constexpr int64_t kTileCols = kTileVectors * kLanes;
  TileTerm t = term;
  for (int64_t i = 0; i < out.rows; i += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, out.rows - i);
    t.a = term.a + i * t.row_stride;
    for (int64_t j = 0; j < out.cols; j += kTileCols) {
      const int64_t cols = std::min(kTileCols, out.cols - j);
      const int vectors = int((cols + kLanes - 1) / kLanes);
      float* c = out.c + i * out.ldc + j;
      t.panel = term.panel + j;
      if (cols % kLanes == 0) {
        tile_any(rows, vectors, t, c, out.ldc, out.accumulate);
        continue;
      }
      // A ragged edge is computed in a full tile aside, so that no vector store leaves C.
      for (int64_t r = 0; out.accumulate && r < rows; ++r) {
        std::memset(edge + r * kPanelCols, 0, sizeof(float) * size_t(vectors * kLanes));
        std::memcpy(edge + r * kPanelCols, c + r * out.ldc, sizeof(float) * size_t(cols));
      }
      tile_any(rows, vectors, t, edge, kPanelCols, out.accumulate);
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(c + r * out.ldc, edge + r * kPanelCols, sizeof(float) * size_t(cols));
      }
    }
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
