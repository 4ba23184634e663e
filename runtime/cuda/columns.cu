#include "runtime/ops/columns.h"

#include "runtime/cuda/runs.h"
#include "runtime/ops/transfer.h"

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

// Listed elements are read and written once, with no arithmetic: bound by memory. A block takes a
// row, and a thread one of its listed columns at a time, which need not be neighbours.
template <class T>
static __global__ void __launch_bounds__(kThreads)
    columns_put(T* whole, const T* listed, const int32_t* index, int count, int64_t columns) {
  whole += int64_t(blockIdx.x) * columns;
  listed += int64_t(blockIdx.x) * count;
  for (int k = int(threadIdx.x); k < count; k += int(blockDim.x)) whole[index[k]] = listed[k];
}

template <class T>
static __global__ void __launch_bounds__(kThreads)
    columns_take(T* listed, T* whole, const int32_t* index, int count, int64_t columns) {
  whole += int64_t(blockIdx.x) * columns;
  listed += int64_t(blockIdx.x) * count;
  for (int k = int(threadIdx.x); k < count; k += int(blockDim.x)) {
    listed[k] = whole[index[k]];
    whole[index[k]] = narrowed<T>(0.0f);
  }
}

namespace {

LaunchShape listed_shape(int64_t rows, size_t count) {
  const int threads = std::clamp(ceil_div(int(count), kWarp) * kWarp, kWarp, kThreads);
  return {dim3(unsigned(rows)), dim3(unsigned(threads))};
}

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

void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index) {
  ArenaScope scope(ctx.scratch());
  const int32_t* list = to_device(ctx, ctx.scratch(), index).data<int32_t>();
  with_float_type(whole.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(ctx, "put_columns", columns_put<T>, listed_shape(whole.rows(), index.size()),
           static_cast<T*>(whole.raw()), static_cast<const T*>(listed.raw()), list,
           int(index.size()), whole.cols());
  });
}

void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index) {
  ArenaScope scope(ctx.scratch());
  const int32_t* list = to_device(ctx, ctx.scratch(), index).data<int32_t>();
  with_float_type(whole.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(ctx, "take_columns", columns_take<T>, listed_shape(whole.rows(), index.size()),
           static_cast<T*>(listed.raw()), static_cast<T*>(whole.raw()), list, int(index.size()),
           whole.cols());
  });
}

}  // namespace tessera::cuda
