#include "runtime/ops/scale.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

// Two accesses of an element for one product: bound by memory. A thread moves 16 bytes; enough
// threads are resident to hide the latency without a loop.
template <class T>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    scale_by(T* x, float factor, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    Floats<N> v = load_run<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) v.v[k] *= factor;
    store_run(x + i, v);
  });
}

void scale(Context& ctx, Tensor x, float factor) {
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(x.numel(), {x.raw()});
    launch(ctx, "scale", scale_by<T>, shape.launch(), static_cast<T*>(x.raw()), factor, shape);
  });
}

}  // namespace tessera::cuda
