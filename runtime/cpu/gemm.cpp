#include "runtime/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/gemm.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

// Register tile: 6 rows of A by kTileVectors vectors of B; 24 accumulators on AVX-512, 12 on AVX2.
constexpr int kTileRows = 6;
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;

struct TileTerm {
  const float* a;
  int64_t row_stride;
  int64_t k_stride;
  int64_t depth;
  const float* panel;
};

/// C tile [kRows, kVectors * kLanes] (+)= A * panel, one FMA chain in k per output.
template <int kRows, int kVectors>
HWY_INLINE void tile(const TileTerm& t, float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  const D d;
  V sum[kRows][kVectors];
  HWY_UNROLL(6) for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = accumulate ? hn::LoadU(d, c + i * ldc + j * kLanes) : hn::Zero(d);
    }
  }
  const float* HWY_RESTRICT b = t.panel;
  const float* HWY_RESTRICT a = t.a;
  for (int64_t k = 0; k < t.depth; ++k, b += kPanelCols, a += t.k_stride) {
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
  HWY_UNROLL(6) for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      hn::StoreU(sum[i][j], d, c + i * ldc + j * kLanes);
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

/// One packed panel times a chunk of rows of A, into columns [0, cols) of c.
void multiply_panel(const GemmTerm& term, const float* panel, const GemmOutput& out,
                    bool accumulate) {
  HWY_ALIGN float edge[kTileRows * kPanelCols];
  constexpr int64_t kTileCols = kTileVectors * kLanes;
  TileTerm t{term.a, term.row_stride, term.k_stride, term.depth, panel};
  for (int64_t i = 0; i < out.rows; i += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, out.rows - i);
    t.a = term.a + i * t.row_stride;
    for (int64_t j = 0; j < out.cols; j += kTileCols) {
      const int64_t cols = std::min(kTileCols, out.cols - j);
      const int vectors = int((cols + kLanes - 1) / kLanes);
      float* c = out.c + i * out.ldc + j;
      t.panel = panel + j;
      if (cols % kLanes == 0) {
        tile_any(rows, vectors, t, c, out.ldc, accumulate);
        continue;
      }
      // A ragged edge is computed in a full tile aside, so that no vector store leaves C.
      for (int64_t r = 0; accumulate && r < rows; ++r) {
        std::memset(edge + r * kPanelCols, 0, sizeof(float) * size_t(vectors * kLanes));
        std::memcpy(edge + r * kPanelCols, c + r * out.ldc, sizeof(float) * size_t(cols));
      }
      tile_any(rows, vectors, t, edge, kPanelCols, accumulate);
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(c + r * out.ldc, edge + r * kPanelCols, sizeof(float) * size_t(cols));
      }
    }
  }
}

void transpose_impl(const float* src, int64_t lds, int64_t rows, int64_t cols, float* dst,
                    int64_t ldd) {
  // 8x8 blocks keep both sides within a few cache lines; the compiler vectorizes the inner copy.
  constexpr int64_t kBlock = 8;
  for (int64_t i = 0; i < rows; i += kBlock) {
    const int64_t ni = std::min(kBlock, rows - i);
    for (int64_t j = 0; j < cols; j += kBlock) {
      const int64_t nj = std::min(kBlock, cols - j);
      if (ni == kBlock && nj == kBlock) {
        const hn::CappedTag<float, 8> d8;
        using V8 = hn::Vec<decltype(d8)>;
        V8 r[8], t[8];
        for (int x = 0; x < 8; ++x) r[x] = hn::LoadU(d8, src + (i + x) * lds + j);
        for (int x = 0; x < 4; ++x) {
          t[2 * x] = hn::InterleaveLower(d8, r[2 * x], r[2 * x + 1]);
          t[2 * x + 1] = hn::InterleaveUpper(d8, r[2 * x], r[2 * x + 1]);
        }
        // t[2x] holds columns 0,1 and t[2x+1] columns 2,3 of each 128-bit half; join pairs as
        // doubles.
        const hn::Repartition<double, decltype(d8)> d4;
        for (int h = 0; h < 2; ++h) {
          const auto lo0 = hn::BitCast(d4, t[4 * h]), lo1 = hn::BitCast(d4, t[4 * h + 2]);
          const auto hi0 = hn::BitCast(d4, t[4 * h + 1]), hi1 = hn::BitCast(d4, t[4 * h + 3]);
          r[4 * h + 0] = hn::BitCast(d8, hn::InterleaveLower(d4, lo0, lo1));
          r[4 * h + 1] = hn::BitCast(d8, hn::InterleaveUpper(d4, lo0, lo1));
          r[4 * h + 2] = hn::BitCast(d8, hn::InterleaveLower(d4, hi0, hi1));
          r[4 * h + 3] = hn::BitCast(d8, hn::InterleaveUpper(d4, hi0, hi1));
        }
        for (int x = 0; x < 4; ++x) {
          hn::StoreU(hn::ConcatLowerLower(d8, r[4 + x], r[x]), d8, dst + (j + x) * ldd + i);
          hn::StoreU(hn::ConcatUpperUpper(d8, r[4 + x], r[x]), d8, dst + (j + x + 4) * ldd + i);
        }
        continue;
      }
      for (int64_t x = 0; x < ni; ++x) {
        for (int64_t y = 0; y < nj; ++y) dst[(j + y) * ldd + i + x] = src[(i + x) * lds + j + y];
      }
    }
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(multiply_panel);
HWY_EXPORT(transpose_impl);

void gemm(Context& ctx, const GemmOutput& out, std::span<const GemmTerm> terms) {
  if (out.rows == 0 || out.cols == 0) return;
  // Few large tasks: all threads busy, and each panel packed for as many rows as possible.
  constexpr int64_t kRowChunk = 1026;
  const int64_t panels = (out.cols + kPanelCols - 1) / kPanelCols;
  int64_t chunk_rows = kRowChunk;
  const int64_t wanted = 2 * ctx.threads();
  while (chunk_rows > 96 && panels * ((out.rows + chunk_rows - 1) / chunk_rows) < wanted) {
    chunk_rows = (chunk_rows / 2 + 5) / 6 * 6;
  }
  const int64_t chunks = (out.rows + chunk_rows - 1) / chunk_rows;

  parallel_for(ctx.threads(), panels * chunks, [&](int64_t task) {
    thread_local Buffer panel;
    if (panel.size() == 0) panel = Buffer::host(sizeof(float) * kPanelDepth * kPanelCols + 4096);
    const int64_t n0 = task / chunks * kPanelCols;
    const int64_t row0 = task % chunks * chunk_rows;
    GemmOutput part = out;
    part.c += row0 * out.ldc + n0;
    part.rows = std::min(chunk_rows, out.rows - row0);
    part.cols = std::min(kPanelCols, out.cols - n0);
    bool accumulate = out.accumulate;
    for (const GemmTerm& term : terms) {
      for (int64_t k0 = 0; k0 < term.depth; k0 += kPanelDepth) {
        const int64_t kc = std::min(kPanelDepth, term.depth - k0);
        term.pack(n0, part.cols, k0, kc, panel.as<float>());
        GemmTerm slice = term;
        slice.a += row0 * term.row_stride + k0 * term.k_stride;
        slice.depth = kc;
        HWY_DYNAMIC_DISPATCH(multiply_panel)(slice, panel.as<float>(), part, accumulate);
        accumulate = true;
      }
    }
  });
}

void transpose(const float* src, int64_t lds, int64_t rows, int64_t cols, float* dst, int64_t ldd) {
  HWY_DYNAMIC_DISPATCH(transpose_impl)(src, lds, rows, cols, dst, ldd);
}

void PackRows::operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const {
  for (int64_t k = 0; k < kc; ++k, panel += kPanelCols) {
    std::memcpy(panel, b + (k0 + k) * ldb + n0, sizeof(float) * size_t(nc));
    std::memset(panel + nc, 0, sizeof(float) * size_t(kPanelCols - nc));
  }
}

void PackTransposed::operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc,
                                float* panel) const {
  if (nc < kPanelCols) std::memset(panel, 0, sizeof(float) * size_t(kc * kPanelCols));
  transpose(w + n0 * ldw + k0, ldw, nc, kc, panel, kPanelCols);
}

}  // namespace tessera::cpu
#endif
