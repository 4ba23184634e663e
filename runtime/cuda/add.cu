#include "runtime/ops/add.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

// Three accesses of an element for one addition: bound by memory. A thread moves 16 bytes of each
// array; enough threads are resident to hide the latency without a loop.
template <class T>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    add_into(T* y, const T* x, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    const Floats<N> a = load_run<N>(y + i), b = load_run<N>(x + i);
    Floats<N> sum;
#pragma unroll
    for (int k = 0; k < N; ++k) sum.v[k] = a.v[k] + b.v[k];
    store_run(y + i, sum);
  });
}

// y is read and written once for one addition, and the bias, common to all rows, comes from a
// cache: bound by memory. A block takes a row; a thread moves 16 bytes of it at a time.
template <class T, class W>
static __global__ void __launch_bounds__(kThreads)
    add_bias_to_rows(T* y, const W* bias, RowShape shape) {
  y += int64_t(blockIdx.x) * shape.columns;
  row_runs<T>(shape, int(threadIdx.x), int(blockDim.x), [&]<int N>(int c, Run<N>) {
    const Floats<N> b = load_run<N>(bias + c);
    Floats<N> sum = load_run<N>(y + c);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.v[k] += b.v[k];
    store_run(y + c, sum);
  });
}

void add(Context& ctx, Tensor y, Tensor x) {
  with_float_type(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(y.numel(), {y.raw(), x.raw()});
    launch(ctx, "add", add_into<T>, shape.launch(), static_cast<T*>(y.raw()),
           static_cast<const T*>(x.raw()), shape);
  });
}

void add_bias(Context& ctx, Tensor y, Tensor bias) {
  with_float_type(y.dtype(), [&](auto activation) {
    with_float_type(bias.dtype(), [&](auto weight) {
      using T = typename decltype(activation)::type;
      using W = typename decltype(weight)::type;
      const auto shape = RowShape::of<T>(y.cols(), {y.raw(), bias.raw()});
      launch(ctx, "add_bias", add_bias_to_rows<T, W>,
             {dim3(unsigned(y.rows())), dim3(unsigned(row_threads<T>(shape, kThreads)))},
             static_cast<T*>(y.raw()), static_cast<const W*>(bias.raw()), shape);
    });
  });
}

}  // namespace tessera::cuda
