// The forward of attention, and attention to a cache.
//
// attention_forward (16-bit elements): FlashAttention-2, algorithm 1. A block of 4 warps owns 128
// queries of one head, 32 a warp, and walks over the keys 32 at a time, in two stages of cp.async.
// Roofline, per pair of a query and a key that sees it, D = 128: 4 D = 512 flops on tensor cores,
// 0.25 cycles of an SM at the 2048 flops a cycle of an A100; one exp2, 0.06 cycles at 16 a cycle,
// and some eight float instructions, 0.06 cycles at 128 a cycle. From shared memory a warp reads K
// and V, and Q again, for 32 * 32 pairs: 3 * 32 rows of 2 D bytes, 24 bytes a pair, 0.19 cycles at
// 128 bytes a cycle; with 16 queries a warp it would be 0.31 and the bound. From device memory
// comes each K and V once for 128 queries. So tensor cores bound it, if a scheduler has two warps,
// one's exponentials under the other's products: 128 threads of at most 255 registers (128 of them
// the output, 32 the scores: of 64 keys at a time they would not fit) and 128 + 2 * 2 * 32 rows, 68
// KiB of shared memory, are two blocks an SM of sm_80 and sm_90, three at D = 64; SMs of sm_86 and
// sm_89, with 100 KiB, hold one. At D = 256 the output of 16 queries is 128 registers, and shared
// memory the bound. The one barrier a step leaves warps free to drift apart by a step. The output
// is rescaled only where a maximum of the warp's rows has moved, which is rare after the first
// steps.
//
// attention_forward_plain (float32, and rows that are not whole packs): a warp works on two
// queries, a lane on one key. 2 D float instructions and 8 D bytes of shared memory a pair: shared
// memory bounds it. It is there to be right.
#include "runtime/cuda/attention_plain.h"
#include "runtime/cuda/attention_tile.h"

namespace tessera::cuda {
namespace {

constexpr int kKeys = 32;
/// Of a warp, in 16 rows: more would not leave registers for the output.
template <int kDim>
constexpr int kQueryFragments = kDim <= 128 ? 2 : 1;
template <int kDim>
constexpr int kQueries = 16 * kQueryFragments<kDim>* kAttentionWarps;
constexpr int kPlainRows = 2 * kAttentionWarps, kPlainKeys = kWarp;
static_assert(kAttentionAlignment % kKeys == 0 && kAttentionAlignment % kPlainKeys == 0);

template <class T>
struct ForwardOperands {
  const T *q, *k, *v;
  T* out;
  float* lse;  // null: not wanted
};

/// The first key of the tiles that queries from `position` on need. Always a multiple of a tile, so
/// that a query meets its keys in the same steps whatever its place in a tile.
__device__ int first_key(const AttentionArgs& args, int position, int keys) {
  return max(0, position - args.window + 1) / keys * keys;
}

/// The running maximum (of logits in base 2), and a thread's part of the sum, of a warp's rows.
template <int kM>
struct RowStates {
  float top[kM][2];
  float sum[kM][2];
};

/// Turns products into exp2(logit - maximum) and brings sums and output to the new maxima.
template <int kM, int kColumns>
__device__ void softmax_step(float (&s)[kM][kKeys / 8][4], float (&out)[kM][kColumns][4],
                             RowStates<kM>& rows, const AttentionArgs& args, int query, int key) {
  const int lane = int(threadIdx.x) % kWarp;
  if (args.softcap > 0) {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][n][e] = args.logit(s[m][n][e]);
  }
  if (!args.sees(query, key + kKeys - 1) || !args.sees(query + 16 * kM - 1, key)) {
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
      const int m = i / 2, half = i % 2;
      const int last = query - key + 16 * m + 8 * half + lane / 4 - lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (!args.sees(last, 8 * n + e)) s[m][n][2 * half + e] = kMinusInfinity;
        }
    }
  }
  const float to_base_2 = args.softcap > 0 ? kLog2E : args.scale * kLog2E;
#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = kMinusInfinity;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      }
      // The four lanes of a row.
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
      top = fmaxf(rows.top[m][half], top * to_base_2);
      const float base = top == kMinusInfinity ? 0.0f : top;  // a row that has seen nothing yet
      const float factor = exp2f(rows.top[m][half] - base);
      float sum = rows.sum[m][half] * factor;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          s[m][n][e] = exp2f(fmaf(s[m][n][e], to_base_2, -base));
          sum += s[m][n][e];
        }
      rows.top[m][half] = top;
      rows.sum[m][half] = sum;
      if (!__any_sync(kAllLanes, factor != 1.0f)) continue;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        out[m][n][2 * half] *= factor;
        out[m][n][2 * half + 1] *= factor;
      }
    }
}

template <int kDim, class T>
static __global__ void __launch_bounds__(kAttentionThreads)
    attention_forward(ForwardOperands<T> operands, AttentionArgs args) {
  constexpr int kPitch = kTilePitch<kDim>, kM = kQueryFragments<kDim>, kRows = kQueries<kDim>;
  DYN_SHARED(T, shared);
  T* const q_rows = shared;
  T* const stages = q_rows + kRows * kPitch;  // two of keys and values
  const int lane = int(threadIdx.x) % kWarp, warp_row = int(threadIdx.x) / kWarp * 16 * kM;
  const int head = int(blockIdx.x) % args.heads;
  const AttentionTile tile = args.tile(int(blockIdx.x) / args.heads, kRows);
  const int rows = min(kRows, tile.end - tile.position), keys_end = tile.position + rows;
  const int64_t kv_at = tile.begin * args.kv_stride + head / args.group * args.head_dim;
  const int64_t q_at = tile.row * args.q_stride + head * args.head_dim;
  const auto copy_stage = [&](int key) {
    const int64_t at = kv_at + key * args.kv_stride;
    T* const k_rows = stages + key / kKeys % 2 * (2 * kKeys * kPitch);
    copy_rows<kDim, kKeys>(k_rows, operands.k + at, args.kv_stride, keys_end - key, args.head_dim);
    copy_rows<kDim, kKeys>(k_rows + kKeys * kPitch, operands.v + at, args.kv_stride, keys_end - key,
                           args.head_dim);
    cp_async_commit();
  };

  float out[kM][kDim / 8][4] = {};
  RowStates<kM> states;
#pragma unroll
  for (int i = 0; i < 2 * kM; ++i) {
    states.top[i / 2][i % 2] = kMinusInfinity;
    states.sum[i / 2][i % 2] = 0.0f;
  }
  const int query = tile.position + warp_row;  // the warp's first
  int key = first_key(args, tile.position, kKeys);
  copy_rows<kDim, kRows>(q_rows, operands.q + q_at, args.q_stride, rows, args.head_dim);
  copy_stage(key);
  for (; key < keys_end; key += kKeys) {
    cp_async_wait<0>();
    __syncthreads();  // this stage is there, and nobody works on the other any more
    if (key + kKeys < keys_end) copy_stage(key + kKeys);
    if (warp_row >= rows || key >= query + 16 * kM || key + kKeys <= query - args.window + 1) {
      continue;
    }
    const T* const k_rows = stages + key / kKeys % 2 * (2 * kKeys * kPitch);
    float s[kM][kKeys / 8][4] = {};
    multiply_rows<kDim>(s, q_rows + warp_row * kPitch, k_rows);
    softmax_step(s, out, states, args, query, key);
    uint32_t weights[kM][kKeys / 16][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) to_weights<T, kKeys / 8>(weights[m], s[m]);
    multiply_weights<kDim>(out, weights, k_rows + kKeys * kPitch);
  }

#pragma unroll
  for (int m = 0; m < kM; ++m) {
    const int first = warp_row + 16 * m;
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = states.sum[m][half];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      factor[half] = 1.0f / sum;
      const int row = first + lane / 4 + 8 * half;
      if (operands.lse != nullptr && lane % 4 == 0 && row < rows) {
        operands.lse[head * args.tokens + tile.row + row] =
            fmaf(states.top[m][half], kLn2, logf(sum));
      }
    }
    store_rows<kDim>(operands.out + q_at + first * args.q_stride, args.q_stride, rows - first,
                     args.head_dim, q_rows + first * kPitch, out[m], factor);
  }
}

template <class T>
static __global__ void __launch_bounds__(kAttentionThreads, 4)
    attention_forward_plain(ForwardOperands<T> operands, AttentionArgs args) {
  constexpr int kWarpRows = kPlainRows / kAttentionWarps;
  DYN_SHARED(float, shared);
  const PlainTile q_rows{shared, args.head_dim}, k_rows{q_rows.end(kPlainRows), args.head_dim},
      v_rows{k_rows.end(kPlainKeys), args.head_dim};
  float* const weights = v_rows.end(kPlainKeys);
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int head = int(blockIdx.x) % args.heads;
  const AttentionTile tile = args.tile(int(blockIdx.x) / args.heads, kPlainRows);
  const int rows = min(kPlainRows, tile.end - tile.position), keys_end = tile.position + rows;
  const int64_t kv_at = tile.begin * args.kv_stride + head / args.group * args.head_dim;
  const int64_t q_at = tile.row * args.q_stride + head * args.head_dim;
  q_rows.fill(operands.q + q_at, args.q_stride, kPlainRows, rows);

  float out[kWarpRows][kPlainChunks] = {};
  float top[kWarpRows], sum[kWarpRows];
#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) top[i] = kMinusInfinity, sum[i] = 0;
  for (int key = first_key(args, tile.position, kPlainKeys); key < keys_end; key += kPlainKeys) {
    __syncthreads();
    const int64_t at = kv_at + key * args.kv_stride;
    k_rows.fill(operands.k + at, args.kv_stride, kPlainKeys, keys_end - key);
    v_rows.fill(operands.v + at, args.kv_stride, kPlainKeys, keys_end - key);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWarpRows; ++i) {
      const int row = warp * kWarpRows + i, query = tile.position + row;
      float x = args.logit(plain_product(q_rows.row(row), k_rows.row(lane), args.head_dim));
      if (!args.sees(query, key + lane)) x = kMinusInfinity;
      const float new_top = fmaxf(top[i], warp_max(x));
      const float base = new_top == kMinusInfinity ? 0.0f : new_top;
      const float factor = expf(top[i] - base), weight = expf(x - base);
      sum[i] = fmaf(sum[i], factor, weight);
      top[i] = new_top;
      weights[row * kPlainKeys + lane] = weight;
      __syncwarp();
#pragma unroll
      for (int c = 0; c < kPlainChunks; ++c) out[i][c] *= factor;
      v_rows.add_weighted(out[i], weights + row * kPlainKeys, kPlainKeys);
    }
  }

#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) {
    const int row = warp * kWarpRows + i;
    const float total = warp_sum(sum[i]);
    if (row >= rows) continue;
    store_plain(operands.out + q_at + row * args.q_stride, out[i], 1.0f / total, args.head_dim);
    if (operands.lse != nullptr && lane == 0) {
      operands.lse[head * args.tokens + tile.row + row] = top[i] + logf(total);
    }
  }
}

/// Starts the kernel for `tiles(rows)`: how many tiles of so many rows there are.
template <class T, class Tiles>
void launch_forward(Context& ctx, const ForwardOperands<T>& operands, AttentionArgs args,
                    Tiles&& tiles) {
  const auto grid = [&](int rows) { return dim3(unsigned(tiles(args, rows) * args.heads)); };
  if constexpr (!std::is_same_v<T, float>) {
    if (packs_fit<T>(args.head_dim, {operands.q, operands.k, operands.v, operands.out})) {
      return with_padded_dim(args.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        const size_t shared = (kQueries<kDim> + 4 * kKeys) * kTilePitch<kDim> * sizeof(T);
        const dim3 blocks = grid(kQueries<kDim>);
        launch(ctx, "attention_forward", attention_forward<kDim, T>,
               {blocks, dim3(kAttentionThreads), shared}, operands, args);
      });
    }
  }
  const size_t shared = PlainTile::bytes(kPlainRows + 2 * kPlainKeys, args.head_dim) +
                        kPlainRows * kPlainKeys * sizeof(float);
  const dim3 blocks = grid(kPlainRows);
  launch(ctx, "attention_forward_plain", attention_forward_plain<T>,
         {blocks, dim3(kAttentionThreads), shared}, operands, args);
}

template <class T>
ForwardOperands<T> operands_of(const Tensor& out, const Tensor& q, const Tensor& k,
                               const Tensor& v) {
  const auto read = [](const Tensor& t) { return static_cast<const T*>(t.raw()); };
  return {read(q), read(k), read(v), static_cast<T*>(out.raw()), nullptr};
}

}  // namespace

void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in) {
  if (ctx.measuring()) return;
  with_float_type(in.q.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForwardOperands<T> operands = operands_of<T>(out, in.q, in.k, in.v);
    operands.lse = lse.data<float>();
    launch_forward(
        ctx, operands, attention_args(in.shape, in.q, in.k), [&](AttentionArgs& args, int rows) {
          const auto tiles = in.samples.tiles(ctx, rows, AttentionSamples::Owner::kQueries);
          args.tiles = tiles.first;
          return tiles.count;
        });
  });
}

void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in) {
  if (ctx.measuring()) return;
  const int64_t count = in.q.rows();
  with_float_type(in.q.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_forward(ctx, operands_of<T>(out, in.q, in.k, in.v), attention_args(in.shape, in.q, in.k),
                   [&](AttentionArgs& args, int rows) {
                     args.only = {0, 0, int32_t(in.first), int32_t(in.first + count)};
                     return ceil_div<int64_t>(count, rows);
                   });
  });
}

}  // namespace tessera::cuda
