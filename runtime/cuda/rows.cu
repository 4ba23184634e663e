#include "runtime/ops/rows.h"

#include "runtime/core/cuda_runtime.h"
#include "runtime/cuda/runs.h"
#include "runtime/ops/transfer.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

// An element is read and written once, with no arithmetic: bound by memory. A block takes a row,
// which is contiguous on both sides; a thread moves 16 bytes at a time.
template <class T, bool kScatter>
static __global__ void __launch_bounds__(kThreads)
    rows_move(T* to, const T* from, const int32_t* index, RowShape shape) {
  const int64_t listed = int64_t(index[blockIdx.x]) * shape.columns;
  const int64_t counted = int64_t(blockIdx.x) * shape.columns;
  to += kScatter ? listed : counted;
  from += kScatter ? counted : listed;
  row_runs<T>(shape, int(threadIdx.x), int(blockDim.x),
              [&]<int N>(int c, Run<N>) { store_run(to + c, load_run<N>(from + c)); });
}

namespace {

template <bool kScatter>
void move(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  ArenaScope scope(ctx.scratch());
  const int32_t* list = to_device(ctx, ctx.scratch(), index).data<int32_t>();
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = RowShape::of<T>(x.cols(), {y.raw(), x.raw()});
    launch(ctx, kScatter ? "scatter_rows" : "gather_rows", rows_move<T, kScatter>,
           {dim3(unsigned(index.size())), dim3(unsigned(row_threads<T>(shape, kThreads)))},
           static_cast<T*>(y.raw()), static_cast<const T*>(x.raw()), list, shape);
  });
}

}  // namespace

void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  move<false>(ctx, y, x, index);
}

void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  move<true>(ctx, y, x, index);
}

void fill_zero(Context& ctx, Tensor x) {
  fill_zero(ctx.compute_stream().handle(), x.raw(), x.bytes());
}

}  // namespace tessera::cuda
