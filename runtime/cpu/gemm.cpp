#include "runtime/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/cpu/parallel.h"
#include "runtime/cpu/thread_memory.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/gemm.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

/// multiply_panel with a signature that is the same on every target.
void gemm_panel(const GemmTerm& term, const float* panel, const GemmOutput& out) {
  multiply_panel({term.a, term.row_stride, term.k_stride, term.depth, panel}, out);
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

HWY_EXPORT(gemm_panel);
HWY_EXPORT(transpose_impl);

void for_gemm_parts(Context& ctx, const GemmOutput& out, int64_t part_cols,
                    FunctionRef<void(const GemmPart&)> work) {
  if (out.rows == 0 || out.cols == 0) return;
  const int64_t strips = (out.cols + part_cols - 1) / part_cols;
  int64_t chunk_rows = kRowChunk;
  const int64_t wanted = 2 * ctx.threads();
  while (chunk_rows > 96 && strips * ((out.rows + chunk_rows - 1) / chunk_rows) < wanted) {
    chunk_rows = (chunk_rows / 2 + 5) / 6 * 6;
  }
  const int64_t chunks = (out.rows + chunk_rows - 1) / chunk_rows;
  parallel_for(ctx.threads(), strips * chunks, [&](int64_t task, int thread) {
    GemmPart part{task % chunks * chunk_rows, task / chunks * part_cols, out, thread};
    part.out.c += part.row0 * out.ldc + part.n0;
    part.out.rows = std::min(chunk_rows, out.rows - part.row0);
    part.out.cols = std::min(part_cols, out.cols - part.n0);
    work(part);
  });
}

void gemm_part(const GemmTerm& term, const GemmPart& part, float* panel) {
  GemmOutput out = part.out;
  for (int64_t k0 = 0; k0 < term.depth; k0 += kPanelDepth) {
    const int64_t kc = std::min(kPanelDepth, term.depth - k0);
    term.pack(part.n0, out.cols, k0, kc, panel);
    GemmTerm slice = term;
    slice.a += part.row0 * term.row_stride + k0 * term.k_stride;
    slice.depth = kc;
    HWY_DYNAMIC_DISPATCH(gemm_panel)(slice, panel, out);
    out.accumulate = true;
  }
}

void gemm(Context& ctx, const GemmOutput& out, std::span<const GemmTerm> terms) {
  if (ctx.measuring()) return;
  struct Panel {
    float values[kPanelDepth * kPanelCols];
  };
  const ThreadMemory<Panel> panels(ctx);
  for_gemm_parts(ctx, out, kPanelCols, [&](const GemmPart& whole) {
    float* const panel = panels.of(whole.thread).values;
    GemmPart part = whole;
    for (const GemmTerm& term : terms) {
      gemm_part(term, part, panel);
      part.out.accumulate = part.out.accumulate || term.depth > 0;
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
