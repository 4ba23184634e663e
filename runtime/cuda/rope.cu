#include "runtime/ops/rope.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

template <class T>
struct RopeTurn {
  T* x;
  const int32_t* positions;
  const float* cos;
  const float* sin;
  int half;    // D/2
  int heads;   // H
  float sign;  // -1 turns back
};

/// N pairs (i, i + half) of a head.
template <int N, class T>
__device__ inline void rope_pairs(T* x, const float* cos, const float* sin, const RopeTurn<T>& p) {
  const Floats<N> c = load_run<N>(cos), s = load_run<N>(sin);
  const Floats<N> a = load_run<N>(x), b = load_run<N>(x + p.half);
  Floats<N> first, second;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    // Products and sums are rounded one by one, as on the CPU.
    const float turn = s.v[k] * p.sign;
    first.v[k] = a.v[k] * c.v[k] - b.v[k] * turn;
    second.v[k] = b.v[k] * c.v[k] + a.v[k] * turn;
  }
  store_run(x, first);
  store_run(x + p.half, second);
}

// An element is read and written once (4 bytes in bfloat16) for three instructions, and a token's
// row of the tables, common to all heads, comes from the first-level cache: bound by memory. A
// block takes a token; a thread 16 bytes of each half of a head.
template <class T>
static __global__ void __launch_bounds__(kThreads) rope_turn(RopeTurn<T> p, RowShape half) {
  constexpr int kSize = Pack<T>::kSize;
  const int64_t position = p.positions[blockIdx.x];
  const float *cos = p.cos + position * p.half, *sin = p.sin + position * p.half;
  T* token = p.x + int64_t(blockIdx.x) * p.heads * 2 * p.half;
  const int runs = half.in_packs ? p.half / kSize : p.half;  // of a head
  for (int run = int(threadIdx.x); run < runs * p.heads; run += int(blockDim.x)) {
    T* head = token + int64_t(run / runs) * 2 * p.half;
    const int i = run % runs;
    if (half.in_packs) {
      rope_pairs<kSize>(head + i * kSize, cos + i * kSize, sin + i * kSize, p);
    } else {
      rope_pairs<1>(head + i, cos + i, sin + i, p);
    }
  }
}

namespace {

struct RopeTable {
  Tensor cos;
  Tensor sin;
};

void turn(Context& ctx, Tensor x, Tensor positions, const RopeTable& table, float sign) {
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t half = table.cos.cols();
    const RopeTurn<T> p{static_cast<T*>(x.raw()),
                        positions.data<int32_t>(),
                        table.cos.data<float>(),
                        table.sin.data<float>(),
                        int(half),
                        int(x.cols() / (2 * half)),
                        sign};
    const auto shape = RowShape::of<T>(half, {p.x, p.cos, p.sin});
    const RowShape halves{p.half * p.heads, shape.in_packs};
    launch(ctx, "rope", rope_turn<T>,
           {dim3(unsigned(x.rows())), dim3(unsigned(row_threads<T>(halves, kThreads)))}, p, shape);
  });
}

}  // namespace

void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin) {
  turn(ctx, x, positions, {cos, sin}, 1.0f);
}

void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin) {
  turn(ctx, dx, positions, {cos, sin}, -1.0f);
}

}  // namespace tessera::cuda
