#include "runtime/ops/embedding.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/cuda/runs.h"
#include "runtime/ops/transfer.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

// An element is read and written once, with no arithmetic: bound by memory. A block takes a token,
// whose row is contiguous; a thread writes 16 bytes at a time.
template <class T, class W>
static __global__ void __launch_bounds__(kThreads)
    embedding_rows(T* y, const W* table, const int32_t* ids, RowShape shape) {
  const W* from = table + int64_t(ids[blockIdx.x]) * shape.columns;
  T* to = y + int64_t(blockIdx.x) * shape.columns;
  row_runs<T>(shape, int(threadIdx.x), int(blockDim.x),
              [&]<int N>(int c, Run<N>) { store_run(to + c, load_run<N>(from + c)); });
}

void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids) {
  ArenaScope scope(ctx.scratch());
  const int32_t* list = to_device(ctx, ctx.scratch(), ids).data<int32_t>();
  with_float_type(y.dtype(), [&](auto activation) {
    with_float_type(table.dtype(), [&](auto weight) {
      using T = typename decltype(activation)::type;
      using W = typename decltype(weight)::type;
      const auto shape = RowShape::of<T>(y.cols(), {y.raw(), table.raw()});
      launch(ctx, "embedding", embedding_rows<T, W>,
             {dim3(unsigned(y.rows())), dim3(unsigned(row_threads<T>(shape, kThreads)))},
             static_cast<T*>(y.raw()), static_cast<const W*>(table.raw()), list, shape);
    });
  });
}

// A row of the gradient is read once, and one of the table read and written once for each of its
// tokens: bound by memory. Tokens come sorted by id. A block takes those of one id, and a thread
// adds up 16 bytes of their rows in the tokens' order, so that no sum needs atomics.
template <class T>
static __global__ void __launch_bounds__(kThreads)
    embedding_add_rows(float* table, const T* rows, const int32_t* ids, const int32_t* tokens,
                       int count, RowShape shape) {
  const int first = int(blockIdx.x);
  const int32_t id = ids[first];
  if (id < 0) return;
  if (first > 0 && ids[first - 1] == id) return;  // its block is that of its first token
  float* to = table + int64_t(id) * shape.columns;
  row_runs<T>(shape, int(threadIdx.x), int(blockDim.x), [&]<int N>(int c, Run<N>) {
    Floats<N> sum = load_run<N>(to + c);
    for (int i = first; i < count && ids[i] == id; ++i) {
      const Floats<N> row = load_run<N>(rows + int64_t(tokens[i]) * shape.columns + c);
#pragma unroll
      for (int k = 0; k < N; ++k) sum.v[k] += row.v[k];
    }
    store_run(to + c, sum);
  });
}

void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids) {
  if (ids.empty()) return;
  std::vector<int32_t> order(ids.size()), sorted(ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t token) { return ids[size_t(token)]; });
  std::ranges::transform(order, sorted.begin(), [&](int32_t token) { return ids[size_t(token)]; });
  ArenaScope scope(ctx.scratch());
  const int32_t* of_ids = to_device(ctx, ctx.scratch(), sorted).data<int32_t>();
  const int32_t* tokens = to_device(ctx, ctx.scratch(), order).data<int32_t>();
  with_float_type(dy.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = RowShape::of<T>(dy.cols(), {dtable.raw(), dy.raw()});
    launch(ctx, "embedding_backward", embedding_add_rows<T>,
           {dim3(unsigned(dy.rows())), dim3(unsigned(row_threads<T>(shape, kThreads)))},
           static_cast<float*>(dtable.raw()), static_cast<const T*>(dy.raw()), of_ids, tokens,
           int(ids.size()), shape);
  });
}

}  // namespace tessera::cuda
