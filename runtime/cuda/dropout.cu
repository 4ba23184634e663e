#include "runtime/ops/dropout.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

/// What the mask leaves of N elements from element i; N is 1 or a multiple of 4, and then so is i.
template <int N>
__device__ inline Floats<N> kept(const Floats<N>& x, int64_t i, const DropoutMask& mask) {
  Floats<N> out;
#pragma unroll
  for (int first = 0; first < N; first += 4) {
    const uint64_t group = uint64_t(i + first) / 4;
    const PhiloxCounter random = philox(dropout_counter(mask.key, group), dropout_key(mask.key));
    if constexpr (N == 1) {
      // Not word[i % 4], for which the words would have to lie in memory.
      const uint32_t a = random.word[0], b = random.word[1], c = random.word[2], d = random.word[3];
      const uint32_t word = i & 2 ? (i & 1 ? d : c) : (i & 1 ? b : a);
      out.v[0] = word < mask.threshold ? 0.0f : x.v[0] * mask.scale;
    } else {
#pragma unroll
      for (int k = first; k < first + 4; ++k) {
        out.v[k] = random.word[k - first] < mask.threshold ? 0.0f : x.v[k] * mask.scale;
      }
    }
  }
  return out;
}

// Two or three accesses of an element (4 or 6 bytes in bfloat16). Ten rounds of Philox are about
// 100 integer instructions for four elements, so an element costs about 30: near the balance of an
// H100, and the reason why a thread takes whole groups of four and never draws words it drops.
template <class T, bool kAccumulate>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    dropout_apply(T* y, const T* x, DropoutMask mask, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    Floats<N> out = kept(load_run<N>(x + i), i, mask);
    if constexpr (kAccumulate) {
      const Floats<N> before = load_run<N>(y + i);
#pragma unroll
      for (int k = 0; k < N; ++k) out.v[k] = before.v[k] + out.v[k];
    }
    store_run(y + i, out);
  });
}

namespace {

template <bool kAccumulate>
void apply(Context& ctx, Tensor y, Tensor x, const DropoutMask& mask) {
  with_float_type(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(y.numel(), {y.raw(), x.raw()});
    launch(ctx, "dropout", dropout_apply<T, kAccumulate>, shape.launch(), static_cast<T*>(y.raw()),
           static_cast<const T*>(x.raw()), mask, shape);
  });
}

}  // namespace

void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p) {
  apply<false>(ctx, y, x, dropout_mask(key, p));
}

void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p) {
  apply<true>(ctx, dx, dy, dropout_mask(key, p));
}

}  // namespace tessera::cuda
