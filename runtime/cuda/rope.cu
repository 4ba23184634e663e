#include "runtime/ops/rope.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

template <class T>
struct RopeHeads {
  T* x;
  const int32_t* rows;
  const float* cos;
  const float* sin;
  int half;
  int heads;      // H
  int head_dim;   // D
  float sign;     // -1 turns back
  bool in_packs;  // whether a run is 16 bytes of elements
  int runs;       // of a head
};

/// N pairs of a head, the first of which begins at x: kNeighbours are (2i, 2i + 1), others
/// (i, i + half).
template <bool kNeighbours, int N, class T>
__device__ inline void rope_pairs(T* x, const float* cos, const float* sin, const RopeHeads<T>& p) {
  const Floats<N> c = load_run<N>(cos), s = load_run<N>(sin);
  const auto turn = [&](int k, float& a, float& b) {
    // Products and sums are rounded one by one, as on the CPU.
    const float by = s.v[k] * p.sign, first = a * c.v[k] - b * by;
    b = b * c.v[k] + a * by;
    a = first;
  };
  if constexpr (kNeighbours && N > 1) {
    Floats<2 * N> pairs = load_run<2 * N>(x);
#pragma unroll
    for (int k = 0; k < N; ++k) turn(k, pairs.v[2 * k], pairs.v[2 * k + 1]);
    store_run(x, pairs);
  } else {
    T* other = x + (kNeighbours ? 1 : p.half);
    Floats<N> a = load_run<N>(x), b = load_run<N>(other);
#pragma unroll
    for (int k = 0; k < N; ++k) turn(k, a.v[k], b.v[k]);
    store_run(x, a);
    store_run(other, b);
  }
}

/// Pairs in a run of 16 bytes of elements, or in two such runs where a pair has one of each.
template <class T, bool kNeighbours>
constexpr int kRopePairs = Pack<T>::kSize / (kNeighbours ? 2 : 1);

// An element is read and written once (4 bytes in bfloat16) for three instructions, and a token's
// row of the tables, common to all heads, comes from the first-level cache: bound by memory. A
// block takes a token; a thread 16 bytes of a head, or of each half of what turns.
template <class T, bool kNeighbours>
static __global__ void __launch_bounds__(kThreads) rope_turn(RopeHeads<T> p) {
  constexpr int kPairs = kRopePairs<T, kNeighbours>, kStep = kNeighbours ? 2 : 1;
  const int64_t row = p.rows[blockIdx.x];
  const float *cos = p.cos + row * p.half, *sin = p.sin + row * p.half;
  T* token = p.x + int64_t(blockIdx.x) * p.heads * p.head_dim;
  for (int run = int(threadIdx.x); run < p.runs * p.heads; run += int(blockDim.x)) {
    T* head = token + int64_t(run / p.runs) * p.head_dim;
    const int i = run % p.runs;
    if (p.in_packs) {
      rope_pairs<kNeighbours, kPairs>(head + i * kPairs * kStep, cos + i * kPairs, sin + i * kPairs,
                                      p);
    } else {
      rope_pairs<kNeighbours, 1>(head + i * kStep, cos + i, sin + i, p);
    }
  }
}

namespace {

template <bool kNeighbours>
void turn_heads(Context& ctx, Tensor x, const RopeTurn& turn, float sign) {
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int kPairs = kRopePairs<T, kNeighbours>;
    const int half = int(turn.cos.cols());
    const bool in_packs = half % kPairs == 0 &&
                          packs_fit<T>(turn.head_dim, {x.raw(), turn.cos.raw(), turn.sin.raw()});
    const RopeHeads<T> p{static_cast<T*>(x.raw()),
                         turn.rows.data<int32_t>(),
                         turn.cos.data<float>(),
                         turn.sin.data<float>(),
                         half,
                         int(x.cols() / turn.head_dim),
                         int(turn.head_dim),
                         sign,
                         in_packs,
                         in_packs ? half / kPairs : half};
    launch(ctx, "rope", rope_turn<T, kNeighbours>,
           {dim3(unsigned(x.rows())),
            dim3(unsigned(row_threads<T>({p.runs * p.heads, false}, kThreads)))},
           p);
  });
}

void turn_pairs(Context& ctx, Tensor x, const RopeTurn& turn, float sign) {
  if (turn.interleaved) return turn_heads<true>(ctx, x, turn, sign);
  turn_heads<false>(ctx, x, turn, sign);
}

}  // namespace

void rope(Context& ctx, Tensor x, const RopeTurn& turn) { turn_pairs(ctx, x, turn, 1.0f); }

void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn) {
  turn_pairs(ctx, dx, turn, -1.0f);
}

}  // namespace tessera::cuda
