#include "runtime/ops/embedding.h"

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

}  // namespace tessera::cuda
