#include "runtime/ops/activation.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

/// 1 + e^-a. The exponent stops at 88, where e^88 is still finite.
__device__ inline float one_plus_exp_minus(float a) { return 1.0f + expf(fminf(88.0f, -a)); }

// The argument a(z) of each activation's sigmoid, and z * a'(z).
struct Silu {
  __device__ static float argument(float z) { return z; }
  __device__ static float slope(float z) { return z; }
};
struct GeluTanh {
  static constexpr float kTwice = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  __device__ static float argument(float z) { return kTwice * fmaf(z * z * kCubic, z, z); }
  __device__ static float slope(float z) { return kTwice * fmaf(z * z * (3.0f * kCubic), z, z); }
};

// Three accesses of an element (6 bytes in bfloat16) and about 30 instructions, most of them in
// expf and the division: bound by memory, with little to spare on an H100 (3.35 TB/s against 29 T
// instructions/s leave 50). A thread moves 16 bytes of each array; enough threads are resident to
// hide the latency without a loop.
template <class T, class Act>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    activation_glu(T* y, const T* gate, const T* up, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    const Floats<N> z = load_run<N>(gate + i), u = load_run<N>(up + i);
    Floats<N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      out.v[k] = z.v[k] / one_plus_exp_minus(Act::argument(z.v[k])) * u.v[k];
    }
    store_run(y + i, out);
  });
}

template <class T>
struct GluBackward {
  T* dgate;
  T* dup;
  const T* dy;
  const T* gate;
  const T* up;
};

// Five accesses of an element and about 40 instructions: bound by memory, as the forward. All loads
// of a run come before its stores, because the gradients take the place of the inputs.
template <class T, class Act>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    activation_glu_backward(GluBackward<T> p, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    const Floats<N> g = load_run<N>(p.dy + i), z = load_run<N>(p.gate + i);
    const Floats<N> u = load_run<N>(p.up + i);
    Floats<N> to_gate, to_up;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float s = 1.0f / one_plus_exp_minus(Act::argument(z.v[k]));
      const float slope = s * fmaf(Act::slope(z.v[k]), 1.0f - s, 1.0f);
      to_gate.v[k] = g.v[k] * u.v[k] * slope;
      to_up.v[k] = g.v[k] * (z.v[k] * s);
    }
    store_run(p.dup + i, to_up);
    store_run(p.dgate + i, to_gate);
  });
}

namespace {

/// Calls f with the types of activations and of the activation function.
template <class F>
void with_glu_types(DType dtype, Activation activation, F&& f) {
  with_float_type(dtype, [&](auto tag) {
    switch (activation) {
      case Activation::kSilu:
        return f(tag, TypeTag<Silu>{});
      case Activation::kGeluTanh:
        return f(tag, TypeTag<GeluTanh>{});
    }
  });
}

}  // namespace

void glu(Context& ctx, Tensor y, const GluInput& in) {
  with_glu_types(y.dtype(), in.activation, [&](auto tag, auto act) {
    using T = typename decltype(tag)::type;
    using Act = typename decltype(act)::type;
    const auto shape = FlatShape::of<T>(y.numel(), {y.raw(), in.gate.raw(), in.up.raw()});
    launch(ctx, "glu", activation_glu<T, Act>, shape.launch(), static_cast<T*>(y.raw()),
           static_cast<const T*>(in.gate.raw()), static_cast<const T*>(in.up.raw()), shape);
  });
}

void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in) {
  with_glu_types(dy.dtype(), in.activation, [&](auto tag, auto act) {
    using T = typename decltype(tag)::type;
    using Act = typename decltype(act)::type;
    const GluBackward<T> p{static_cast<T*>(dgate.raw()), static_cast<T*>(dup.raw()),
                           static_cast<const T*>(dy.raw()), static_cast<const T*>(in.gate.raw()),
                           static_cast<const T*>(in.up.raw())};
    const auto shape = FlatShape::of<T>(dy.numel(), {p.dgate, p.dup, p.dy, p.gate, p.up});
    launch(ctx, "glu_backward", activation_glu_backward<T, Act>, shape.launch(), p, shape);
  });
}

}  // namespace tessera::cuda
