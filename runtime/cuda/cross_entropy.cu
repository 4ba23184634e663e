#include "runtime/ops/cross_entropy.h"

#include <cmath>

#include "runtime/cuda/runs.h"
#include "runtime/ops/transfer.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

}  // namespace

/// Of some logits: the largest, and the sum of e^(logit - largest). A NaN or +infinity makes the
/// sum NaN, whatever it is joined with.
struct CrossEntropySum {
  float largest = -INFINITY;
  double sum = 0.0;
};

/// What may be taken from logits of which `largest` is the largest: -infinity less itself is NaN.
__device__ inline float cross_entropy_shift(float largest) {
  return largest == -INFINITY ? 0.0f : largest;
}

/// The same bits whichever comes first.
__device__ inline CrossEntropySum joined(const CrossEntropySum& a, const CrossEntropySum& b) {
  const float largest = fmaxf(a.largest, b.largest), shift = cross_entropy_shift(largest);
  return {largest,
          a.sum * double(expf(a.largest - shift)) + b.sum * double(expf(b.largest - shift))};
}

/// Over neighbouring groups of `lanes` lanes; the same in all of a group.
template <int kLanes>
__device__ inline CrossEntropySum joined_lanes(CrossEntropySum mine) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    const CrossEntropySum other{__shfl_xor_sync(kAllLanes, mine.largest, distance),
                                __shfl_xor_sync(kAllLanes, mine.sum, distance)};
    mine = joined(mine, other);
  }
  return mine;
}

/// Of a row, in one pass over it: where a larger logit comes up, the sum so far is scaled down. A
/// thread's part is short enough for a float32 sum; parts are added in double, so that a row whose
/// target is nearly certain keeps the rest.
template <class T>
__device__ inline CrossEntropySum cross_entropy_sum(const T* x, const RowShape& shape,
                                                    CrossEntropySum* parts) {
  float largest = -INFINITY, sum = 0.0f;
  row_runs<T>(shape, int(threadIdx.x), kThreads, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c);
    float top = v.v[0];
#pragma unroll
    for (int k = 1; k < N; ++k) top = fmaxf(top, v.v[k]);
    if (top > largest) {
      sum *= expf(largest - top);
      largest = top;
    }
    const float shift = cross_entropy_shift(largest);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += expf(v.v[k] - shift);
  });
  const CrossEntropySum of_warp = joined_lanes<kWarp>({largest, double(sum)});
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  return joined_lanes<kWarps>(parts[threadIdx.x % kWarps]);
}

/// The sum of logit - shift over a row. A run's sum is short enough for float32.
template <class T>
__device__ inline double sum_of_differences(const T* x, const RowShape& shape, float shift,
                                            double* parts) {
  double sum = 0.0;
  row_runs<T>(shape, int(threadIdx.x), kThreads, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c);
    float of_run = 0.0f;
#pragma unroll
    for (int k = 0; k < N; ++k) of_run += v.v[k] - shift;
    sum += double(of_run);
  });
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, distance);
  }
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = sum;
  __syncthreads();  // also before the row changes
  double all = 0.0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) all += parts[warp];
  return all;
}

struct CrossEntropyShared {
  CrossEntropySum sums[kWarps];
  double differences[kWarps];
};

template <class T>
struct CrossEntropyRows {
  float* losses;
  T* logits;
  const int32_t* targets;
  const float* weights;  // null: every weight is 1
  float scale;
  float smoothing;
};

// A row is read twice and written once (6 bytes a logit in bfloat16): rows of a large vocabulary do
// not stay in a cache. Two exponentials and two conversions are about 40 instructions a logit, so
// memory bounds it, with little to spare. A block takes a row, its threads 16 bytes at a time; a
// chunk of the head has hundreds of rows. With smoothing it reads the row once more.
template <class T>
static __global__ void __launch_bounds__(kThreads)
    cross_entropy_rows(CrossEntropyRows<T> p, RowShape shape) {
  DYN_SHARED(CrossEntropyShared, shared);
  T* x = p.logits + int64_t(blockIdx.x) * shape.columns;
  const int target = p.targets[blockIdx.x];
  const float scale = p.weights ? p.scale * p.weights[blockIdx.x] : p.scale;
  const float wanted = widened(x[target]);  // before the block meets, after which it changes
  const CrossEntropySum all = cross_entropy_sum(static_cast<const T*>(x), shape, shared->sums);
  const double everywhere = double(p.smoothing) / double(shape.columns);
  // The mean of the logits over what is to be learned, less the largest.
  double learned = double(wanted) - double(all.largest);
  if (p.smoothing > 0.0f) {
    learned = (1.0 - double(p.smoothing)) * learned +
              everywhere * sum_of_differences(static_cast<const T*>(x), shape, all.largest,
                                              shared->differences);
  }
  if (threadIdx.x == 0) p.losses[blockIdx.x] = float(log(all.sum) - learned);
  const float factor = float(double(scale) / all.sum);
  const float less = float(everywhere * double(scale));
  row_runs<T>(shape, int(threadIdx.x), kThreads, [&]<int N>(int c, Run<N>) {
    Floats<N> v = load_run<N>(x + c);
#pragma unroll
    for (int k = 0; k < N; ++k) v.v[k] = expf(v.v[k] - all.largest) * factor - less;
    store_run(x + c, v);
  });
  __syncthreads();
  if (threadIdx.x == 0) {
    // In double, because 1 - p cancels for a token that is nearly certain.
    const double probability = double(expf(wanted - all.largest)) / all.sum;
    const double at_target = 1.0 - double(p.smoothing) + everywhere;
    x[target] = narrowed<T>(float((probability - at_target) * double(scale)));
  }
}

void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const CrossEntropyOptions& options) {
  ArenaScope scope(ctx.scratch());
  const int32_t* list = to_device(ctx, ctx.scratch(), targets).data<int32_t>();
  with_float_type(logits.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const CrossEntropyRows<T> p{
        .losses = losses.data<float>(),
        .logits = static_cast<T*>(logits.raw()),
        .targets = list,
        .weights = options.weights ? options.weights.data<float>() : nullptr,
        .scale = options.scale,
        .smoothing = options.smoothing};
    launch(ctx, "cross_entropy", cross_entropy_rows<T>,
           {dim3(unsigned(logits.rows())), dim3(kThreads), sizeof(CrossEntropyShared)}, p,
           RowShape::of<T>(logits.cols(), {logits.raw()}));
  });
}

}  // namespace tessera::cuda
