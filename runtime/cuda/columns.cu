#include "runtime/ops/columns.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

/// Rows of a part, which are its own, and the same columns of the whole.
template <class T>
struct ColumnsPart {
  T* part;
  T* whole;
  int64_t columns_of_whole;
};

// An element is read and written once, with no arithmetic: bound by memory. A block takes a row; a
// thread moves 16 bytes at a time.
template <class T, bool kJoin>
static __global__ void __launch_bounds__(kThreads) columns_move(ColumnsPart<T> p, RowShape shape) {
  T* part = p.part + int64_t(blockIdx.x) * shape.columns;
  T* whole = p.whole + int64_t(blockIdx.x) * p.columns_of_whole;
  T* to = kJoin ? whole : part;
  const T* from = kJoin ? part : whole;
  row_runs<T>(shape, int(threadIdx.x), int(blockDim.x),
              [&]<int N>(int c, Run<N>) { store_run(to + c, load_run<N>(from + c)); });
}

namespace {

template <bool kJoin>
void move(Context& ctx, std::span<const Tensor> parts, Tensor whole) {
  with_float_type(whole.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* columns = static_cast<T*>(whole.raw());
    for (const Tensor& part : parts) {
      const ColumnsPart<T> p{static_cast<T*>(part.raw()), columns, whole.cols()};
      auto shape = RowShape::of<T>(part.cols(), {p.part, p.whole});
      shape.in_packs = shape.in_packs && whole.cols() % Pack<T>::kSize == 0;
      launch(ctx, kJoin ? "join_columns" : "split_columns", columns_move<T, kJoin>,
             {dim3(unsigned(whole.rows())), dim3(unsigned(row_threads<T>(shape, kThreads)))}, p,
             shape);
      columns += part.cols();
    }
  });
}

}  // namespace

void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole) {
  move<false>(ctx, parts, whole);
}

void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts) {
  move<true>(ctx, parts, whole);
}

}  // namespace tessera::cuda
