#include "runtime/ops/norm.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMostColumnsOfAWarp = 1024;

}  // namespace

/// The row of the calling thread: one per block or per warp.
template <bool kBlockRow>
__device__ inline int64_t norm_row() {
  if constexpr (kBlockRow) return blockIdx.x;
  return int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}
template <bool kBlockRow, class T, class F>
__device__ inline void norm_runs(const RowShape& row, F&& f) {
  constexpr int kGroup = kBlockRow ? kThreads : kWarp;
  row_runs<T>(row, int(threadIdx.x) % kGroup, kGroup, f);
}
template <bool kBlockRow>
__device__ inline float norm_sum(float x, float* parts) {
  if constexpr (kBlockRow) return block_sum(x, parts);
  return warp_sum(x);
}

/// N weights and what the norm adds to each.
template <int N, class W>
__device__ inline Floats<N> norm_weights(const W* w, float plus) {
  Floats<N> weights = load_run<N>(w);
#pragma unroll
  for (int k = 0; k < N; ++k) weights.v[k] += plus;
  return weights;
}

template <class T, class W>
struct NormForward {
  T* y;
  float* rstd;
  const T* x;
  const W* w;
  float eps;
  float plus;
};

// x is read and y written once from memory (4 bytes an element in bfloat16) for about ten
// instructions: bound by memory. The second reading of a row, by the same threads, comes from the
// first-level cache, which holds the rows of all resident blocks up to about 8,192 columns. Wide
// rows have a block each; narrow ones, as heads are, a warp each, so that no thread idles.
template <class T, class W, bool kBlockRow>
static __global__ void __launch_bounds__(kThreads)
    norm_forward(NormForward<T, W> p, int64_t rows, RowShape shape) {
  DYN_SHARED(float, parts);
  const int64_t row = norm_row<kBlockRow>();
  if (row >= rows) return;  // with its whole warp, and a block never
  const T* x = p.x + row * shape.columns;
  T* y = p.y + row * shape.columns;
  float squares = 0.0f;
  norm_runs<kBlockRow, T>(shape, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c);
#pragma unroll
    for (int k = 0; k < N; ++k) squares = fmaf(v.v[k], v.v[k], squares);
  });
  const float mean = norm_sum<kBlockRow>(squares, parts) / float(shape.columns);
  const float rstd = 1.0f / sqrtf(mean + p.eps);
  norm_runs<kBlockRow, T>(shape, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c), w = norm_weights<N>(p.w + c, p.plus);
    Floats<N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = v.v[k] * rstd * w.v[k];
    store_run(y + c, out);
  });
  if (threadIdx.x % (kBlockRow ? kThreads : kWarp) == 0) p.rstd[row] = rstd;
}

template <class T, class W>
struct NormBackward {
  T* dx;
  const T* dy;
  const T* x;
  const W* w;
  const float* rstd;
  float plus;
};

// x, dy and dx are read and dx written once from memory (8 bytes an element in bfloat16), x and dy
// again from the first-level cache: bound by memory, shaped as the forward.
template <class T, class W, bool kBlockRow>
static __global__ void __launch_bounds__(kThreads)
    norm_backward(NormBackward<T, W> p, int64_t rows, RowShape shape) {
  DYN_SHARED(float, parts);
  const int64_t row = norm_row<kBlockRow>();
  if (row >= rows) return;
  const T *x = p.x + row * shape.columns, *dy = p.dy + row * shape.columns;
  T* dx = p.dx + row * shape.columns;
  const float rstd = p.rstd[row];
  float products = 0.0f;
  norm_runs<kBlockRow, T>(shape, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c), g = load_run<N>(dy + c);
    const Floats<N> w = norm_weights<N>(p.w + c, p.plus);
#pragma unroll
    for (int k = 0; k < N; ++k) products = fmaf(g.v[k] * w.v[k], v.v[k] * rstd, products);
  });
  const float minus_mean = -norm_sum<kBlockRow>(products, parts) / float(shape.columns);
  norm_runs<kBlockRow, T>(shape, [&]<int N>(int c, Run<N>) {
    const Floats<N> v = load_run<N>(x + c), g = load_run<N>(dy + c);
    const Floats<N> w = norm_weights<N>(p.w + c, p.plus);
    Floats<N> out = load_run<N>(dx + c);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float slope = fmaf(v.v[k] * rstd, minus_mean, g.v[k] * w.v[k]);
      out.v[k] = fmaf(slope, rstd, out.v[k]);
    }
    store_run(dx + c, out);
  });
}

namespace {

/// Calls f with the types of activations and weight, and whether a row has a whole block.
template <class F>
void with_norm_types(const Tensor& x, const Tensor& w, F&& f) {
  with_float_type(x.dtype(), [&](auto activation) {
    with_float_type(w.dtype(), [&](auto weight) {
      if (x.cols() > kMostColumnsOfAWarp) {
        f(activation, weight, std::true_type());
      } else {
        f(activation, weight, std::false_type());
      }
    });
  });
}

LaunchShape norm_launch(int64_t rows, bool block_row) {
  return {dim3(unsigned(block_row ? rows : ceil_div<int64_t>(rows, kWarps))), dim3(kThreads),
          kWarps * sizeof(float)};
}

}  // namespace

void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm) {
  with_norm_types(x, norm.weight, [&](auto activation, auto weight, auto block_row) {
    using T = typename decltype(activation)::type;
    using W = typename decltype(weight)::type;
    const NormForward<T, W> p{static_cast<T*>(y.raw()),
                              rstd.data<float>(),
                              static_cast<const T*>(x.raw()),
                              static_cast<const W*>(norm.weight.raw()),
                              norm.eps,
                              norm.plus};
    launch(ctx, "rmsnorm", norm_forward<T, W, block_row()>, norm_launch(x.rows(), block_row()), p,
           x.rows(), RowShape::of<T>(x.cols(), {p.y, p.x, p.w}));
  });
}

void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd) {
  with_norm_types(x, norm.weight, [&](auto activation, auto weight, auto block_row) {
    using T = typename decltype(activation)::type;
    using W = typename decltype(weight)::type;
    // A block of these rare types spills registers on sm_80; warps do not.
    constexpr bool kSpills = std::is_same_v<T, __half> && std::is_same_v<W, float>;
    constexpr bool kBlockRow = block_row() && !kSpills;
    const NormBackward<T, W> p{static_cast<T*>(dx.raw()),
                               static_cast<const T*>(dy.raw()),
                               static_cast<const T*>(x.raw()),
                               static_cast<const W*>(norm.weight.raw()),
                               rstd.data<float>(),
                               norm.plus};
    launch(ctx, "rmsnorm_backward", norm_backward<T, W, kBlockRow>,
           norm_launch(x.rows(), kBlockRow), p, x.rows(),
           RowShape::of<T>(x.cols(), {p.dx, p.dy, p.x, p.w}));
  });
}

}  // namespace tessera::cuda
