#include "runtime/ops/softcap.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

// Two accesses of an element and about 25 instructions, most of them in tanhf and the division:
// bound by memory. A thread moves 16 bytes; enough threads are resident to hide the latency without
// a loop.
template <class T>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    softcap_bound(T* x, float cap, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    Floats<N> v = load_run<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float share = v.v[k] / cap;
      v.v[k] = fmaf(tanhf(share), cap, share * 0.0f);  // NaN where x is not finite
    }
    store_run(x + i, v);
  });
}

// Three accesses of an element for a few instructions: bound by memory, shaped as the forward.
template <class T>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    softcap_bound_backward(T* dx, const T* y, float cap, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    Floats<N> slope = load_run<N>(dx + i);
    const Floats<N> v = load_run<N>(y + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float tanh = v.v[k] / cap;
      slope.v[k] *= 1.0f - tanh * tanh;
    }
    store_run(dx + i, slope);
  });
}

void softcap(Context& ctx, Tensor x, float cap) {
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(x.numel(), {x.raw()});
    launch(ctx, "softcap", softcap_bound<T>, shape.launch(), static_cast<T*>(x.raw()), cap, shape);
  });
}

void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap) {
  with_float_type(dx.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(dx.numel(), {dx.raw(), y.raw()});
    launch(ctx, "softcap_backward", softcap_bound_backward<T>, shape.launch(),
           static_cast<T*>(dx.raw()), static_cast<const T*>(y.raw()), cap, shape);
  });
}

}  // namespace tessera::cuda
