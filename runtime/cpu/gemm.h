// The CPU matrix product: C[M,N] (+)= sum over terms of A_t[M,K_t] * B_t[K_t,N], in float32.
// Each output adds up, in the order of the terms and inside a term of k, chains of 128 FMAs. No sum
// is split over tasks or vector lanes, so the bits depend neither on the thread count nor on the
// vector width. B is never held whole: a packer writes panels of 64 columns when they are needed,
// which is where a frozen weight is dequantized.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/core/context.h"
#include "runtime/core/function_ref.h"

namespace tessera::cpu {

inline constexpr int64_t kPanelCols = 64;
inline constexpr int64_t kPanelDepth = 1024;  // rows of B packed at once: 256 KiB, fits L2

/// Writes B[k0 + k][n0 + n] to panel[k * kPanelCols + n] for k in [0, kc), n in [0, nc), and zeros
/// for n in [nc, kPanelCols). kc <= kPanelDepth, nc <= kPanelCols; n0 and k0 are multiples of
/// kPanelCols. Called from several threads at once.
using PackPanel = FunctionRef<void(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel)>;

/// A[i][k] = a[i * row_stride + k * k_stride]; K = depth.
struct GemmTerm {
  const float* a;
  int64_t row_stride;
  int64_t k_stride;
  int64_t depth;
  PackPanel pack;
};

/// C[i][j] at c[i * ldc + j]. With accumulate the sum joins C, else it replaces it.
struct GemmOutput {
  float* c;
  int64_t rows;
  int64_t cols;
  int64_t ldc;
  bool accumulate;
};

void gemm(Context& ctx, const GemmOutput& out, std::span<const GemmTerm> terms);

/// What one task of a product computes: the rows from row0 and the columns from n0 on that `out`,
/// whose c points at the first of them, has room for.
struct GemmPart {
  int64_t row0;
  int64_t n0;
  GemmOutput out;
  int thread;  // which works on it, as ThreadMemory counts them
};

inline constexpr int64_t kRowChunk = 1026;  // most rows of a part, a multiple of the tiles' 6

/// Cuts `out` into parts of at most part_cols columns, a multiple of kPanelCols, and calls work on
/// each from several threads: few large ones, so that B is packed seldom, yet enough for all
/// threads.
void for_gemm_parts(Context& ctx, const GemmOutput& out, int64_t part_cols,
                    FunctionRef<void(const GemmPart&)> work);

/// Adds one term's product to a part of at most kPanelCols columns, or sets the part to it where
/// part.out does not accumulate. `panel`: kPanelDepth * kPanelCols floats, aligned to 64 bytes.
void gemm_part(const GemmTerm& term, const GemmPart& part, float* panel);

/// Packer for B given as a row-major matrix: B[k][n] = b[k * ldb + n].
struct PackRows {
  const float* b;
  int64_t ldb;
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const;
};

/// Packer for B given transposed: B[k][n] = w[n * ldw + k] (a weight W[N,K] in y = x * W^T).
struct PackTransposed {
  const float* w;
  int64_t ldw;
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const;
};

/// Transposes src[rows][cols] (row stride lds) into dst[cols][rows] (row stride ldd).
void transpose(const float* src, int64_t lds, int64_t rows, int64_t cols, float* dst, int64_t ldd);

}  // namespace tessera::cpu
