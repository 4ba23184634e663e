// What the attention kernels share: what they are told, masks and logits, rows of a head in shared
// memory, and the two products of tiles on tensor cores that attention is made of.
// A row in shared memory is padded by 16 bytes: 8 rows of a matrix that ldmatrix reads then start
// in 8 different groups of banks for every width that is a multiple of 16.
#pragma once

#include <cstring>
#include <limits>

#include "runtime/cuda/kernel.h"
#include "runtime/ops/attention.h"

namespace tessera::cuda {

inline constexpr int kAttentionThreads = 128;
inline constexpr int kAttentionWarps = kAttentionThreads / kWarp;
inline constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// What every kernel is told; strides are in elements.
struct AttentionArgs {
  const AttentionTile* tiles;  // null: `only`, cut into tiles
  AttentionTile only;
  int64_t q_stride, kv_stride;
  int64_t tokens;  // row length of lse
  int heads;       // of queries
  int group;       // query heads that share a kv head
  int head_dim;
  int window;  // tokens that a token sees, itself among them
  float scale, softcap;

  __device__ AttentionTile tile(int index, int rows) const {
    if (tiles != nullptr) return tiles[index];
    return {only.row + index * rows, only.begin, only.position + index * rows, only.end};
  }
  __device__ bool sees(int query, int key) const { return key <= query && key > query - window; }
  /// The logit of a product of a query and a key; not finite where that is not.
  __device__ float logit(float product) const {
    const float x = product * scale;
    if (softcap <= 0) return x;
    const float y = x / softcap;
    return fmaf(tanhf(y), softcap, y * 0.0f);
  }
  /// The derivative of a logit by the scaled product.
  __device__ float slope(float logit) const {
    if (softcap <= 0) return 1.0f;
    const float tanh = logit / softcap;
    return fmaf(-tanh, tanh, 1.0f);
  }
};

inline AttentionArgs attention_args(const AttentionShape& shape, const Tensor& q, const Tensor& k) {
  constexpr int64_t kNoWindow = int64_t{1} << 30;
  AttentionArgs args{};
  args.q_stride = q.cols();
  args.kv_stride = k.cols();
  args.tokens = q.rows();
  args.heads = int(shape.heads);
  args.group = int(shape.heads / shape.kv_heads);
  args.head_dim = int(shape.head_dim);
  args.window = int(shape.window > 0 ? std::min(shape.window, kNoWindow) : kNoWindow);
  args.scale = shape.scale;
  args.softcap = shape.softcap;
  return args;
}

/// Calls f(integral_constant) with the smallest width of the tensor core kernels that holds rows of
/// head_dim elements, padded with zeros.
template <class F>
void with_padded_dim(int64_t head_dim, F&& f) {
  if (head_dim <= 64) {
    f(std::integral_constant<int, 64>{});
  } else if (head_dim <= 80) {
    f(std::integral_constant<int, 80>{});
  } else if (head_dim <= 96) {
    f(std::integral_constant<int, 96>{});
  } else if (head_dim <= 128) {
    f(std::integral_constant<int, 128>{});
  } else {
    f(std::integral_constant<int, 256>{});
  }
}

/// Elements from row to row of a head in shared memory.
template <int kDim>
inline constexpr int kTilePitch = kDim + 8;

/// Starts to copy `kRows` rows of a head, those from `valid` on and columns from head_dim on as
/// zeros.
template <int kDim, int kRows, class T>
__device__ void copy_rows(T* to, const T* from, int64_t stride, int valid, int head_dim) {
  // A power of two of threads a row, so that all that changes from step to step is the row.
  constexpr int kPacks = kDim / Pack<T>::kSize, kRowThreads = kPacks <= 8    ? 8
                                                              : kPacks <= 16 ? 16
                                                                             : 32;
  constexpr int kStep = kAttentionThreads / kRowThreads;
  static_assert(kPacks <= kRowThreads && kRows % kStep == 0);
  const int first = int(threadIdx.x) / kRowThreads;
  const int column = int(threadIdx.x) % kRowThreads * Pack<T>::kSize;
  if (column >= kDim) return;
  to += first * kTilePitch<kDim> + column;
  valid = column < head_dim ? valid - first : 0;
  from += valid > 0 ? first * stride + column : 0;
#pragma unroll
  for (int row = 0; row < kRows; row += kStep) {
    cp_async16(to + row * kTilePitch<kDim>, from, row < valid);
    if (row + kStep < valid) from += kStep * stride;
  }
}

/// c[m][n] += rows 16 m of `a` times rows 8 n of `b`, summed over their columns.
template <int kDim, int kM, int kN, class T>
__device__ void multiply_rows(float (&c)[kM][kN][4], const T* a, const T* b) {
  constexpr int kPitch = kTilePitch<kDim>;
  const int lane = int(threadIdx.x) % kWarp;
  a += lane % 16 * kPitch + lane / 16 * 8;
  b += (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kDim; k += 16) {
    uint32_t a_part[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) ldmatrix_x4(a_part[m], a + m * 16 * kPitch + k);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t b_part[4];
      ldmatrix_x4(b_part, b + n * 8 * kPitch + k);
      const uint32_t left[2] = {b_part[0], b_part[1]}, right[2] = {b_part[2], b_part[3]};
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_16x8x16<T>(c[m][n], a_part[m], left);
        mma_16x8x16<T>(c[m][n + 1], a_part[m], right);
      }
    }
  }
}

/// c += weights times rows of `b`, summed over the 16 kK rows.
template <int kDim, int kM, int kK, class T>
__device__ void multiply_weights(float (&c)[kM][kDim / 8][4], const uint32_t (&weights)[kM][kK][4],
                                 const T* b) {
  constexpr int kPitch = kTilePitch<kDim>;
  const int lane = int(threadIdx.x) % kWarp;
  b += lane % 16 * kPitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kK; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t b_part[4];
      ldmatrix_x4_trans(b_part, b + k * 16 * kPitch + n * 8);
      const uint32_t left[2] = {b_part[0], b_part[1]}, right[2] = {b_part[2], b_part[3]};
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_16x8x16<T>(c[m][n], weights[m][k], left);
        mma_16x8x16<T>(c[m][n + 1], weights[m][k], right);
      }
    }
  }
}

template <class T>
using PairOf = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
template <class T>
__device__ PairOf<T> pair_of(float first, float second) {
  if constexpr (std::is_same_v<T, __half>) {
    return __floats2half2_rn(first, second);
  } else {
    return __floats2bfloat162_rn(first, second);
  }
}
template <class T>
__device__ uint32_t packed(float first, float second) {
  const PairOf<T> pair = pair_of<T>(first, second);
  uint32_t bits;
  std::memcpy(&bits, &pair, sizeof bits);
  return bits;
}

/// Results as the left operand of the next product, rounded: the registers of two tiles of 8
/// columns are those of one of 16.
template <class T, int kN>
__device__ void to_weights(uint32_t (&weights)[kN / 2][4], const float (&c)[kN][4]) {
#pragma unroll
  for (int k = 0; k < kN / 2; ++k) {
    weights[k][0] = packed<T>(c[2 * k][0], c[2 * k][1]);
    weights[k][1] = packed<T>(c[2 * k][2], c[2 * k][3]);
    weights[k][2] = packed<T>(c[2 * k + 1][0], c[2 * k + 1][1]);
    weights[k][3] = packed<T>(c[2 * k + 1][2], c[2 * k + 1][3]);
  }
}

/// Stores 16 rows of a warp's sums, times a factor for the rows of either half, to rows of a head,
/// of which `valid` are there. They pass through `shared`, 16 rows of the warp's own, so that what
/// leaves are whole packs.
template <int kDim, class T>
__device__ void store_rows(T* to, int64_t stride, int valid, int head_dim, T* shared,
                           const float (&c)[kDim / 8][4], const float (&factor)[2]) {
  constexpr int kPitch = kTilePitch<kDim>, kPacks = kDim / Pack<T>::kSize;
  const int lane = int(threadIdx.x) % kWarp;
  __syncwarp();
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      T* at = shared + (lane / 4 + 8 * half) * kPitch + n * 8 + lane % 4 * 2;
      *reinterpret_cast<PairOf<T>*>(at) =
          pair_of<T>(c[n][2 * half] * factor[half], c[n][2 * half + 1] * factor[half]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = lane; i < 16 * kPacks; i += kWarp) {
    const int row = i / kPacks, column = i % kPacks * Pack<T>::kSize;
    if (row < valid && column < head_dim) {
      store_pack(to + row * stride + column, load_pack(shared + row * kPitch + column));
    }
  }
}

}  // namespace tessera::cuda
