#include "runtime/cpu/gemm_bf16.h"

#include <algorithm>

#include "runtime/core/error.h"
#include "runtime/cpu/thread_memory.h"

#if defined(__x86_64__)
#include <immintrin.h>

// Highway has no target for vdpbf16ps, so this file is written in intrinsics. The attribute goes on
// each function that uses them; the rest of the program stays runnable on any CPU.
#define TESSERA_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace tessera::cpu {
namespace {

constexpr int kRows = 6;  // the register tile: 6 rows of A by 4 vectors of B, 24 accumulators
constexpr int kVectors = 4;
constexpr int64_t kPairs = kPanelDepth / 2;  // a bfloat16 at 2i and at 2i + 1 of k, as one uint32
constexpr int64_t kPacked = 4 * kPairs * kPanelCols;  // pairs of B at once: half of a 1 MiB L2
constexpr int64_t kStrip = 64;  // rows of B in float32 before they are rounded: in L1

/// A thread's own memory: what it has packed.
struct Workspace {
  alignas(64) uint32_t b[kPacked];  // panels of [pair][column], panel_size apart
  alignas(64) uint32_t a[kRows][kPairs];
  alignas(64) float strip[kStrip * kPanelCols];
};

/// Pairs in each packed panel of a term.
int64_t panel_size(const GemmTerm& term) {
  return (std::min(kPanelDepth, term.depth) + 1) / 2 * kPanelCols;
}

/// Sixteen rows-of-two: columns 0 to 15 of `even` and `odd`, rounded, side by side.
TESSERA_BF16 inline void store_pairs(__m512 even, __m512 odd, uint32_t* to) {
  // Words 0 to 15 are the even row, 16 to 31 the odd one.
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  _mm512_store_si512(to, _mm512_permutexvar_epi16(order, both));
}

/// Rounds kc rows of a float32 panel to pairs of rows; an odd last row is paired with zeros.
TESSERA_BF16 void round_panel(const float* panel, int64_t kc, uint32_t* pairs) {
  for (int64_t k = 0; k < kc; k += 2, pairs += kPanelCols) {
    const float* even = panel + k * kPanelCols;
    for (int j = 0; j < kVectors; ++j) {
      const __m512 odd =
          k + 1 < kc ? _mm512_load_ps(even + kPanelCols + 16 * j) : _mm512_setzero_ps();
      store_pairs(_mm512_load_ps(even + 16 * j), odd, pairs + 16 * j);
    }
  }
}

/// Rounds a[0, kc) to pairs; writes whole groups of 16 pairs, zeros behind the last element.
TESSERA_BF16 void round_row(const float* a, int64_t kc, uint32_t* pairs) {
  for (int64_t k = 0; k < kc; k += 32, pairs += 16) {
    const uint32_t mask = kc - k < 32 ? (uint32_t{1} << (kc - k)) - 1 : ~uint32_t{0};
    const __m512 low = _mm512_maskz_loadu_ps(__mmask16(mask), a + k);
    const __m512 high = _mm512_maskz_loadu_ps(__mmask16(mask >> 16), a + k + 16);
    _mm512_store_si512(pairs, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
  }
}

/// out[kRowCount, up to 64] (+)= a * b over `pairs` pairs of k, each output in one chain.
template <int kRowCount>
TESSERA_BF16 void tile(const Workspace& w, const uint32_t* b, int64_t pairs,
                       const GemmOutput& out) {
  __m512 sum[kRowCount][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRowCount; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < pairs; ++k, b += kPanelCols) {
    __m512bh column[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      column[j] = reinterpret_cast<__m512bh>(_mm512_load_si512(b + 16 * j));
      __builtin_prefetch(b + 8 * kPanelCols + 16 * j);
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRowCount; ++i) {
      const __m512bh row = reinterpret_cast<__m512bh>(_mm512_set1_epi32(int(w.a[i][k])));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = _mm512_dpbf16_ps(sum[i][j], row, column[j]);
      }
    }
  }
  const uint64_t columns = out.cols < 64 ? (uint64_t{1} << out.cols) - 1 : ~uint64_t{0};
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const __mmask16 mask = __mmask16(columns >> (16 * j));
    float* c = out.c + 16 * j;
#pragma GCC unroll 6
    for (int i = 0; i < kRowCount; ++i, c += out.ldc) {
      const __m512 before = out.accumulate ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();
      _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(before, sum[i][j]));
    }
  }
}

void tile_rows(const Workspace& w, const uint32_t* b, int64_t pairs, const GemmOutput& out) {
  switch (out.rows) {
    case 6:
      return tile<6>(w, b, pairs, out);
    case 5:
      return tile<5>(w, b, pairs, out);
    case 4:
      return tile<4>(w, b, pairs, out);
    case 3:
      return tile<3>(w, b, pairs, out);
    case 2:
      return tile<2>(w, b, pairs, out);
    case 1:
      return tile<1>(w, b, pairs, out);
  }
}

/// The panels of B under `part`, rows [k0, k0 + kc).
void pack_part(const GemmTerm& term, const GemmPart& part, int64_t k0, int64_t kc, Workspace& w) {
  for (int64_t j = 0; j < part.out.cols; j += kPanelCols) {
    uint32_t* pairs = w.b + j / kPanelCols * panel_size(term);
    const int64_t nc = std::min(kPanelCols, part.out.cols - j);
    for (int64_t k = 0; k < kc; k += kStrip, pairs += kStrip / 2 * kPanelCols) {
      const int64_t depth = std::min(kStrip, kc - k);
      term.pack(part.n0 + j, nc, k0 + k, depth, w.strip);
      round_panel(w.strip, depth, pairs);
    }
  }
}

void multiply_part(const GemmTerm& term, GemmPart part, Workspace& w) {
  for (int64_t k0 = 0; k0 < term.depth; k0 += kPanelDepth) {
    const int64_t kc = std::min(kPanelDepth, term.depth - k0);
    pack_part(term, part, k0, kc, w);
    for (int64_t i = 0; i < part.out.rows; i += kRows) {
      GemmOutput c = part.out;
      c.rows = std::min<int64_t>(kRows, part.out.rows - i);
      const float* a = term.a + (part.row0 + i) * term.row_stride + k0;
      for (int64_t r = 0; r < c.rows; ++r) round_row(a + r * term.row_stride, kc, w.a[r]);
      for (int64_t j = 0; j < part.out.cols; j += kPanelCols) {
        c.c = part.out.c + i * c.ldc + j;
        c.cols = std::min(kPanelCols, part.out.cols - j);
        tile_rows(w, w.b + j / kPanelCols * panel_size(term), (kc + 1) / 2, c);
      }
    }
    part.out.accumulate = true;
  }
}

/// A float32 term for each panel of `part`; w.b is free by then.
void add_term(const GemmTerm& term, const GemmPart& part, Workspace& w) {
  static_assert(sizeof(w.b) >= sizeof(float) * kPanelDepth * kPanelCols);
  for (int64_t j = 0; j < part.out.cols; j += kPanelCols) {
    GemmPart panel = part;
    panel.n0 += j;
    panel.out.c += j;
    panel.out.cols = std::min(kPanelCols, part.out.cols - j);
    gemm_part(term, panel, reinterpret_cast<float*>(w.b));
  }
}

/// Columns of a part. Its rows of A are rounded once for all of them, so as many as fit in the
/// workspace and leave enough parts for all threads.
int64_t part_cols(const Context& ctx, const GemmOutput& out, const GemmTerm& term) {
  const int64_t panels = (out.cols + kPanelCols - 1) / kPanelCols;
  const int64_t chunks = (out.rows + kRowChunk - 1) / kRowChunk;
  const int64_t wanted = (2 * ctx.threads() + chunks - 1) / chunks;
  const int64_t most = kPacked / std::max(panel_size(term), kPanelCols);
  const int64_t parts = std::clamp(wanted, (panels + most - 1) / most, panels);
  return (panels + parts - 1) / parts * kPanelCols;
}

}  // namespace

bool has_gemm_bf16() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

void gemm_bf16(Context& ctx, const GemmOutput& out, std::span<const GemmTerm> terms) {
  TESSERA_CHECK(has_gemm_bf16() && !terms.empty() && terms.front().k_stride == 1);
  if (ctx.measuring()) return;
  const ThreadMemory<Workspace> workspaces(ctx);
  for_gemm_parts(ctx, out, part_cols(ctx, out, terms.front()), [&](const GemmPart& whole) {
    Workspace& w = workspaces.of(whole.thread);
    GemmPart part = whole;
    multiply_part(terms.front(), part, w);
    part.out.accumulate = part.out.accumulate || terms.front().depth > 0;
    for (const GemmTerm& term : terms.subspan(1)) {
      add_term(term, part, w);
      part.out.accumulate = part.out.accumulate || term.depth > 0;
    }
  });
}

}  // namespace tessera::cpu

#else

namespace tessera::cpu {

bool has_gemm_bf16() { return false; }

void gemm_bf16(Context&, const GemmOutput&, std::span<const GemmTerm>) {
  TESSERA_CHECK(has_gemm_bf16());
}

}  // namespace tessera::cpu

#endif
