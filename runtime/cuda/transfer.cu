#include "runtime/ops/transfer.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

// Reads and writes each element once: bound by memory. A thread writes 16 bytes.
template <class To, class From>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    transfer_convert(To* y, const From* x, FlatShape shape) {
  flat_run<To>(shape, [&]<int N>(int64_t i, Run<N>) { store_run(y + i, load_run<N>(x + i)); });
}

void convert(Context& ctx, Tensor y, Tensor x) {
  with_float_type(y.dtype(), [&](auto to) {
    with_float_type(x.dtype(), [&](auto from) {
      using To = typename decltype(to)::type;
      using From = typename decltype(from)::type;
      const auto shape = FlatShape::of<To>(x.numel(), {y.raw(), x.raw()});
      launch(ctx, "convert", transfer_convert<To, From>, shape.launch(), static_cast<To*>(y.raw()),
             static_cast<const From*>(x.raw()), shape);
    });
  });
}

}  // namespace tessera::cuda
