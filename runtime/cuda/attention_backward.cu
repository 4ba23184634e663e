// The backward of attention: FlashAttention-2, algorithm 2, without atomics, so that every sum has
// one order. Probabilities are computed twice: one launch owns tiles of keys and walks over the
// queries of its group's heads for dk and dv, one owns queries and walks over keys for dq. That is
// 7 products of tiles instead of 5 (8 at D = 256, where dk and dv have a launch each); adding dq up
// in order would instead chain the blocks of a row of tiles, or keep a copy of dq per tile of keys.
//
// All are one kernel: a warp owns 16 rows of two operands (k and v, or q and dout), and 32 rows of
// the other two stream by in two stages. The products of own and streaming rows are scores and dp;
// whichever way round, they leave the tensor cores in the very registers in which the next product
// takes its left operand, so that neither passes through shared memory.
// Roofline, per pair of a query and a key, D = 128: dk and dv take 8 D = 1024 flops, 0.5 cycles of
// an SM at the 2048 flops a cycle of an A100, and read 4 * 32 streaming and 2 * 16 own rows of 2 D
// bytes for 32 * 16 pairs, 80 bytes, 0.63 cycles at 128 bytes a cycle; dq takes 6 D flops, 0.38
// cycles, and reads 64 bytes, 0.5 cycles. Shared memory bounds both, by a quarter and a third; with
// 32 rows a warp it would not, but the sums of dk and dv alone would be 256 registers a thread.
// exp2 is 0.06 cycles. 2 * 64 own rows and 2 * 2 * 32 streaming ones are 68 KiB at D = 128: two
// blocks of 4 warps an SM of sm_80 and sm_90, one of sm_86 and sm_89. At D = 256, 16 rows stream at
// a time, so that a block takes 99 KiB, the most that the latter give.
//
// attention_delta reads out and dout once and is bound by device memory; it runs 8 lanes a row of a
// head, so that a warp's loads are 4 * 128 bytes. attention_backward_plain (float32, and rows that
// are not whole packs) is bound by shared memory: 4 bytes a multiplication.
#include "runtime/cuda/attention_plain.h"
#include "runtime/cuda/attention_tile.h"

namespace tessera::cuda {
namespace {

constexpr int kOwnRows = 16 * kAttentionWarps;
template <int kDim>
constexpr int kStreamRows = kDim <= 128 ? 32 : 16;
constexpr int kPlainOwnRows = 2 * kAttentionWarps, kPlainStreamRows = kWarp;
constexpr int kDeltaLanes = 8;

/// What a kernel computes: with one owner of queries, or with one or two of keys.
enum class Gradient { kQueries, kKeysAndValues, kKeys, kValues };

/// Of kernels that own queries: own is (q, dout), stream (k, v), grads (dq, -); of those that own
/// keys: own is (k, v), stream (q, dout), grads (dk, dv).
template <class T>
struct BackwardOperands {
  const T* own[2];
  const T* stream[2];
  T* grads[2];
  const float *lse, *delta;  // [H, N]
};

/// Which rows of which heads stream past an own tile, a step at a time.
template <bool kOfKeys>
struct StreamSteps {
  const AttentionArgs& args;
  AttentionTile tile;
  int head;  // of queries; where keys are owned, the first of the group
  int rows;  // own
  int first, last;
  int step_rows;

  __device__ StreamSteps(const AttentionArgs& a, int own_rows, int stream_rows)
      : args(a), step_rows(stream_rows) {
    const int heads = kOfKeys ? a.heads / a.group : a.heads;
    tile = a.tile(int(blockIdx.x) / heads, own_rows);
    head = int(blockIdx.x) % heads * (kOfKeys ? a.group : 1);
    rows = min(own_rows, tile.end - tile.position);
    const int end = tile.position + rows;
    first = kOfKeys ? tile.position : max(0, tile.position - a.window + 1);
    last = kOfKeys ? min(tile.end, end - 1 + a.window) : end;
  }
  __device__ int per_head() const { return (last - first + step_rows - 1) / step_rows; }
  __device__ int count() const { return per_head() * (kOfKeys ? args.group : 1); }
  __device__ int head_at(int step) const { return head + step / per_head(); }
  /// Position of the step's first row in the sample, and how many rows there are from there.
  __device__ int position_at(int step) const { return first + step % per_head() * step_rows; }
  __device__ int rows_at(int step) const { return last - position_at(step); }

  __device__ int64_t own_stride() const { return kOfKeys ? args.kv_stride : args.q_stride; }
  __device__ int64_t stream_stride() const { return kOfKeys ? args.q_stride : args.kv_stride; }
  __device__ int64_t own_at() const {
    return tile.row * own_stride() + (kOfKeys ? head / args.group : head) * args.head_dim;
  }
  __device__ int64_t stream_at(int step) const {
    const int column = kOfKeys ? head_at(step) : head / args.group;
    return (tile.begin + position_at(step)) * stream_stride() + column * args.head_dim;
  }
  /// Where lse and delta have the query at `position` of the head at `step`.
  __device__ int64_t statistic_at(int step, int position) const {
    return head_at(step) * args.tokens + tile.begin + position;
  }
};

/// A query's lse, which for a query that is not there hides every key, and delta.
struct alignas(8) Statistics {
  float lse, delta;
};
template <class T, bool kOfKeys>
__device__ Statistics load_statistics(const BackwardOperands<T>& operands,
                                      const StreamSteps<kOfKeys>& steps, int step, int position,
                                      int end) {
  if (position >= end) return {-kMinusInfinity, 0.0f};
  const int64_t at = steps.statistic_at(step, position);
  return {operands.lse[at], operands.delta[at]};
}

/// The probability of a query and a key that see each other, and the gradient of their scaled
/// product.
struct PairGradient {
  float p, ds;
};
/// With lse in base 2.
__device__ PairGradient pair_gradient(const AttentionArgs& args, float product, float dp,
                                      const Statistics& row) {
  if (args.softcap <= 0) {
    const float p = exp2f(fmaf(product, args.scale * kLog2E, -row.lse));
    return {p, p * (dp - row.delta)};
  }
  const float x = args.logit(product), p = exp2f(fmaf(x, kLog2E, -row.lse));
  return {p, p * (dp - row.delta) * args.slope(x)};
}

template <class T>
static __global__ void __launch_bounds__(kAttentionThreads)
    attention_delta(float* delta, const T* dout, const T* out, int64_t rows, int heads,
                    int head_dim, bool packs) {
  const int64_t row = (int64_t(blockIdx.x) * kAttentionThreads + threadIdx.x) / kDeltaLanes;
  const int lane = int(threadIdx.x) % kDeltaLanes;
  const int64_t at = min(row, rows - 1) * head_dim;
  float sum = 0.0f;
  if (packs) {
    for (int c = lane * Pack<T>::kSize; c < head_dim; c += kDeltaLanes * Pack<T>::kSize) {
      const Pack<T> a = load_pack(dout + at + c), b = load_pack(out + at + c);
#pragma unroll
      for (int i = 0; i < Pack<T>::kSize; ++i) sum = fmaf(widened(a.v[i]), widened(b.v[i]), sum);
    }
  } else {
    for (int c = lane; c < head_dim; c += kDeltaLanes) {
      sum = fmaf(widened(dout[at + c]), widened(out[at + c]), sum);
    }
  }
#pragma unroll
  for (int distance = kDeltaLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, distance);
  }
  // Rows are [token, head], statistics [head, token].
  if (lane == 0 && row < rows) delta[row % heads * (rows / heads) + row / heads] = sum;
}

/// Blocks that an SM is to have the registers for; shared memory has room for so many.
template <int kDim, Gradient kGradient>
constexpr int kMinBlocks = kDim <= 64                                      ? 3
                           : kDim <= 96 && kGradient == Gradient::kQueries ? 3
                                                                           : 2;

template <int kDim, Gradient kGradient, class T>
static __global__ void __launch_bounds__(kAttentionThreads, (kMinBlocks<kDim, kGradient>))
    attention_backward(BackwardOperands<T> operands, AttentionArgs args) {
  constexpr bool kOfKeys = kGradient != Gradient::kQueries;
  constexpr bool kWantsDs = kGradient != Gradient::kValues;
  constexpr int kSums = kGradient == Gradient::kKeysAndValues ? 2 : 1;
  constexpr int kRows = kStreamRows<kDim>;
  constexpr int kPitch = kTilePitch<kDim>, kStage = 2 * kRows * kPitch;
  DYN_SHARED(T, shared);
  T* const own = shared;
  T* const stages = own + 2 * kOwnRows * kPitch;
  const StreamSteps<kOfKeys> steps(args, kOwnRows, kRows);
  const int lane = int(threadIdx.x) % kWarp, warp_row = int(threadIdx.x) / kWarp * 16;
  const int own_position = steps.tile.position + warp_row;
  const auto copy_stage = [&](int step) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      copy_rows<kDim, kRows>(stages + step % 2 * kStage + i * kRows * kPitch,
                             operands.stream[i] + steps.stream_at(step), steps.stream_stride(),
                             steps.rows_at(step), args.head_dim);
    }
    cp_async_commit();
  };
  // Of a streaming query, in the padding of its row; thread t brings those of row t.
  const auto statistics_of = [&](int step, int row) -> Statistics& {
    return *reinterpret_cast<Statistics*>(stages + step % 2 * kStage + row * kPitch + kDim);
  };
  const bool brings = kOfKeys && threadIdx.x < kRows;
  const auto load_row = [&](int step, int position, int end) {
    Statistics row = load_statistics(operands, steps, step, position, end);
    row.lse *= kLog2E;
    return row;
  };
  const auto load_streaming = [&](int step) {
    return load_row(step, steps.position_at(step) + int(threadIdx.x), steps.last);
  };

  Statistics own_rows[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    copy_rows<kDim, kOwnRows>(own + i * kOwnRows * kPitch, operands.own[i] + steps.own_at(),
                              steps.own_stride(), steps.rows, args.head_dim);
    if constexpr (!kOfKeys) {
      own_rows[i] = load_row(0, own_position + lane / 4 + 8 * i, steps.tile.end);
    }
  }
  copy_stage(0);
  if (brings) statistics_of(0, int(threadIdx.x)) = load_streaming(0);

  float sums[kSums][1][kDim / 8][4] = {};
  const int count = steps.count();
  for (int step = 0; step < count; ++step) {
    cp_async_wait<0>();
    __syncthreads();  // this stage is there, and nobody works on the other any more
    Statistics next{};
    if (step + 1 < count) {
      copy_stage(step + 1);
      if (brings) next = load_streaming(step + 1);
    }
    const T* const stream = stages + step % 2 * kStage;
    const int position = steps.position_at(step);
    const int query = kOfKeys ? position : own_position, key = kOfKeys ? own_position : position;
    constexpr int kQueries = kOfKeys ? kRows : 16, kKeys = kOfKeys ? 16 : kRows;
    if (warp_row < steps.rows && key < query + kQueries && key + kKeys > query - args.window + 1) {
      float p[1][kRows / 8][4] = {}, ds[1][kRows / 8][4] = {};
      multiply_rows<kDim>(p, own + warp_row * kPitch, stream);
      if constexpr (kWantsDs) {
        multiply_rows<kDim>(ds, own + (kOwnRows + warp_row) * kPitch, stream + kRows * kPitch);
      }
      const bool all = args.sees(query, key + kKeys - 1) && args.sees(query + kQueries - 1, key);
#pragma unroll
      for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int own_row = lane / 4 + e / 2 * 8, stream_row = 8 * n + lane % 4 * 2 + e % 2;
          const Statistics row = kOfKeys ? statistics_of(step, stream_row) : own_rows[e / 2];
          PairGradient pair = pair_gradient(args, p[0][n][e], ds[0][n][e], row);
          const int apart = query - key + (kOfKeys ? stream_row - own_row : own_row - stream_row);
          if (!all && !args.sees(apart, 0)) pair = {0.0f, 0.0f};
          p[0][n][e] = pair.p;
          ds[0][n][e] = pair.ds;
        }
      }
      uint32_t weights[1][kRows / 16][4];
      if constexpr (kWantsDs) {
        to_weights<T, kRows / 8>(weights[0], ds[0]);
        multiply_weights<kDim>(sums[0], weights, stream);
      }
      if constexpr (kSums == 2 || !kWantsDs) {
        to_weights<T, kRows / 8>(weights[0], p[0]);
        multiply_weights<kDim>(sums[kSums - 1], weights, stream + kRows * kPitch);
      }
    }
    if (brings) statistics_of(step + 1, int(threadIdx.x)) = next;
  }

  const int64_t at = steps.own_at() + warp_row * steps.own_stride();
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const int grad = kWantsDs ? i : 1;
    const float factor = grad == 0 ? args.scale : 1.0f;
    store_rows<kDim>(operands.grads[grad] + at, steps.own_stride(), steps.rows - warp_row,
                     args.head_dim, own + (i * kOwnRows + warp_row) * kPitch, sums[i][0],
                     {factor, factor});
  }
}

template <bool kOfKeys, class T>
static __global__ void __launch_bounds__(kAttentionThreads, 4)
    attention_backward_plain(BackwardOperands<T> operands, AttentionArgs args) {
  constexpr int kWarpRows = kPlainOwnRows / kAttentionWarps;
  DYN_SHARED(float, shared);
  const PlainTile own[2] = {{shared, args.head_dim}, {own[0].end(kPlainOwnRows), args.head_dim}};
  const PlainTile stream[2] = {{own[1].end(kPlainOwnRows), args.head_dim},
                               {stream[0].end(kPlainStreamRows), args.head_dim}};
  float* const weights = stream[1].end(kPlainStreamRows);
  const StreamSteps<kOfKeys> steps(args, kPlainOwnRows, kPlainStreamRows);
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  for (int i = 0; i < 2; ++i) {
    own[i].fill(operands.own[i] + steps.own_at(), steps.own_stride(), kPlainOwnRows, steps.rows);
  }

  float grads[kWarpRows][2][kPlainChunks] = {};
  for (int step = 0; step < steps.count(); ++step) {
    __syncthreads();
    for (int i = 0; i < 2; ++i) {
      stream[i].fill(operands.stream[i] + steps.stream_at(step), steps.stream_stride(),
                     kPlainStreamRows, steps.rows_at(step));
    }
    __syncthreads();
    const int position = steps.position_at(step) + lane;
#pragma unroll
    for (int i = 0; i < kWarpRows; ++i) {
      const int row = warp * kWarpRows + i, own_position = steps.tile.position + row;
      const int query = kOfKeys ? position : own_position, key = kOfKeys ? own_position : position;
      const Statistics s = load_statistics(operands, steps, step, query, steps.tile.end);
      const float product = plain_product(own[0].row(row), stream[0].row(lane), args.head_dim);
      const float dp = plain_product(own[1].row(row), stream[1].row(lane), args.head_dim);
      const float x = args.logit(product), p = expf(x - s.lse);
      const bool seen = args.sees(query, key);
      float* const of_row = weights + row * 2 * kPlainStreamRows;
      of_row[lane] = seen ? p * (dp - s.delta) * args.slope(x) : 0.0f;
      of_row[kPlainStreamRows + lane] = seen ? p : 0.0f;
      __syncwarp();
      stream[0].add_weighted(grads[i][0], of_row, kPlainStreamRows);
      if constexpr (kOfKeys) {
        stream[1].add_weighted(grads[i][1], of_row + kPlainStreamRows, kPlainStreamRows);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) {
    const int row = warp * kWarpRows + i;
    if (row >= steps.rows) continue;
    const int64_t at = steps.own_at() + row * steps.own_stride();
    store_plain(operands.grads[0] + at, grads[i][0], args.scale, args.head_dim);
    if constexpr (kOfKeys) store_plain(operands.grads[1] + at, grads[i][1], 1.0f, args.head_dim);
  }
}

template <int kDim, Gradient kGradient, class T>
void launch_tiles(Context& ctx, const BackwardOperands<T>& operands, const AttentionArgs& args,
                  dim3 grid) {
  const size_t shared = (2 * kOwnRows + 4 * kStreamRows<kDim>)*kTilePitch<kDim> * sizeof(T);
  launch(ctx, "attention_backward", attention_backward<kDim, kGradient, T>,
         {grid, dim3(kAttentionThreads), shared}, operands, args);
}

/// Starts the kernels for `tiles(rows)`: how many tiles of so many rows there are.
template <bool kOfKeys, class T, class Tiles>
void launch_backward(Context& ctx, const BackwardOperands<T>& operands, AttentionArgs args,
                     Tiles&& tiles) {
  const int heads = kOfKeys ? args.heads / args.group : args.heads;
  const auto grid = [&](int rows) { return dim3(unsigned(tiles(args, rows) * heads)); };
  if constexpr (!std::is_same_v<T, float>) {
    if (packs_fit<T>(args.head_dim, {operands.own[0], operands.own[1], operands.stream[0],
                                     operands.stream[1], operands.grads[0], operands.grads[1]})) {
      const dim3 blocks = grid(kOwnRows);
      return with_padded_dim(args.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        if constexpr (!kOfKeys) {
          launch_tiles<kDim, Gradient::kQueries>(ctx, operands, args, blocks);
        } else if constexpr (kDim <= 128) {
          launch_tiles<kDim, Gradient::kKeysAndValues>(ctx, operands, args, blocks);
        } else {
          launch_tiles<kDim, Gradient::kKeys>(ctx, operands, args, blocks);
          launch_tiles<kDim, Gradient::kValues>(ctx, operands, args, blocks);
        }
      });
    }
  }
  const size_t shared = PlainTile::bytes(2 * (kPlainOwnRows + kPlainStreamRows), args.head_dim) +
                        2 * kPlainOwnRows * kPlainStreamRows * sizeof(float);
  const dim3 blocks = grid(kPlainOwnRows);
  launch(ctx, "attention_backward_plain", attention_backward_plain<kOfKeys, T>,
         {blocks, dim3(kAttentionThreads), shared}, operands, args);
}

template <class T>
void launch_delta(Context& ctx, float* delta, const T* dout, const T* out,
                  const AttentionArgs& args) {
  const int64_t rows = args.tokens * args.heads;
  launch(ctx, "attention_delta", attention_delta<T>,
         {dim3(unsigned(ceil_div<int64_t>(rows * kDeltaLanes, kAttentionThreads))),
          dim3(kAttentionThreads)},
         delta, dout, out, rows, args.heads, args.head_dim,
         packs_fit<T>(args.head_dim, {dout, out}));
}

}  // namespace

void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in) {
  const ArenaScope scope(ctx.scratch());
  const Tensor delta = ctx.scratch().f32({in.shape.heads, in.q.rows()});
  if (ctx.measuring()) return;
  const AttentionArgs args = attention_args(in.shape, in.q, in.k);
  const auto tiles_of = [&](AttentionSamples::Owner owner) {
    return [&ctx, &in, owner](AttentionArgs& a, int rows) {
      const auto tiles = in.samples.tiles(ctx, rows, owner);
      a.tiles = tiles.first;
      return tiles.count;
    };
  };
  with_float_type(in.q.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto data = [](const Tensor& t) { return static_cast<T*>(t.raw()); };
    launch_delta<T>(ctx, delta.data<float>(), data(dout), data(out), args);
    BackwardOperands<T> operands{{data(in.q), data(dout)},
                                 {data(in.k), data(in.v)},
                                 {data(grads.dq), nullptr},
                                 lse.data<float>(),
                                 delta.data<float>()};
    launch_backward<false>(ctx, operands, args, tiles_of(AttentionSamples::Owner::kQueries));
    std::swap(operands.own, operands.stream);
    operands.grads[0] = data(grads.dk);
    operands.grads[1] = data(grads.dv);
    launch_backward<true>(ctx, operands, args, tiles_of(AttentionSamples::Owner::kKeys));
  });
}

}  // namespace tessera::cuda
