#include "runtime/ops/argmax.h"

#include <cmath>

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 512;

}  // namespace

/// The largest of some logits, and its column: the lowest of several.
struct Largest {
  float value = -INFINITY;
  int column = 0;
};

/// The same whichever comes first.
__device__ inline Largest larger(const Largest& a, const Largest& b) {
  return b.value > a.value || (b.value == a.value && b.column < a.column) ? b : a;
}

/// Over neighbouring groups of kLanes lanes; the same in all of a group.
template <int kLanes>
__device__ inline Largest larger_of_lanes(Largest mine) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    mine = larger(mine, {__shfl_xor_sync(kAllLanes, mine.value, distance),
                         __shfl_xor_sync(kAllLanes, mine.column, distance)});
  }
  return mine;
}

// A logit is read once and compared once: bound by memory. A block takes a row, its threads 16
// bytes at a time. A thread sees its columns in order and starts at column 0, so that a row without
// a largest one gives that column.
template <class T>
static __global__ void __launch_bounds__(kThreads)
    argmax_rows(int32_t* columns, const T* logits, RowShape shape) {
  DYN_SHARED(Largest, parts);
  const T* x = logits + int64_t(blockIdx.x) * shape.columns;
  Largest mine;
  row_runs<T>(shape, int(threadIdx.x), kThreads, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (v.v[k] > mine.value) mine = {v.v[k], c + k};
    }
  });
  const Largest of_warp = larger_of_lanes<kWarp>(mine);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  const Largest all = larger_of_lanes<kThreads / kWarp>(parts[threadIdx.x % (kThreads / kWarp)]);
  if (threadIdx.x == 0) columns[blockIdx.x] = all.column;
}

void argmax(Context& ctx, Tensor columns, Tensor logits) {
  with_float_type(logits.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(ctx, "argmax", argmax_rows<T>,
           {dim3(unsigned(logits.rows())), dim3(kThreads), kThreads / kWarp * sizeof(Largest)},
           columns.data<int32_t>(), static_cast<const T*>(logits.raw()),
           RowShape::of<T>(logits.cols(), {logits.raw()}));
  });
}

}  // namespace tessera::cuda
