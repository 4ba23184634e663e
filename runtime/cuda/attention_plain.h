// Rows of a head in shared memory as float32, for the attention kernels that take any element type
// and width: a lane multiplies with a row of its own, or adds up columns of its own.
// Rows have an odd pitch, so that the lanes' rows lie in different banks.
#pragma once

#include "runtime/cuda/kernel.h"

namespace tessera::cuda {

inline constexpr int kPlainMaxDim = 256, kPlainChunks = kPlainMaxDim / kWarp;
/// A lane's part of a row: columns lane, 32 + lane, ...
using PlainSums = float[kPlainChunks];

struct PlainTile {
  float* data;
  int columns;

  __host__ __device__ static int pitch(int columns) { return columns | 1; }
  static size_t bytes(int rows, int columns) { return size_t(rows * pitch(columns)) * 4; }

  __device__ float* row(int i) const { return data + i * pitch(columns); }
  /// Where the memory of `rows` rows ends.
  __device__ float* end(int rows) const { return row(rows); }

  /// By the whole block; rows from `valid` on become zero.
  template <class T>
  __device__ void fill(const T* from, int64_t stride, int rows, int valid) const {
    for (int i = int(threadIdx.x); i < rows * columns; i += int(blockDim.x)) {
      const int r = i / columns, c = i % columns;
      row(r)[c] = r < valid ? widened(from[r * stride + c]) : 0.0f;
    }
  }
  /// sums += the weighted rows.
  __device__ void add_weighted(PlainSums& sums, const float* weights, int rows) const {
    const int lane = int(threadIdx.x) % kWarp;
    for (int i = 0; i < rows; ++i) {
#pragma unroll
      for (int c = 0; c < kPlainChunks; ++c) {
        const int column = c * kWarp + lane;
        if (column < columns) sums[c] = fmaf(weights[i], row(i)[column], sums[c]);
      }
    }
  }
};

__device__ inline float plain_product(const float* a, const float* b, int columns) {
  float sum = 0.0f;
  for (int c = 0; c < columns; ++c) sum = fmaf(a[c], b[c], sum);
  return sum;
}

/// Stores the warp's sums times `factor` to a row.
template <class T>
__device__ void store_plain(T* to, const PlainSums& sums, float factor, int columns) {
#pragma unroll
  for (int c = 0; c < kPlainChunks; ++c) {
    const int column = c * kWarp + int(threadIdx.x) % kWarp;
    if (column < columns) to[column] = narrowed<T>(sums[c] * factor);
  }
}

}  // namespace tessera::cuda
