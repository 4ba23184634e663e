#include "runtime/ops/noise.h"

#include "runtime/cuda/runs.h"

namespace tessera::cuda {

// An element is read and written once (4 bytes in bfloat16), and costs a quarter of ten rounds of
// Philox, about 30 instructions: near the balance of an H100. A thread takes whole groups of four.
template <class T>
static __global__ void __launch_bounds__(FlatShape::kThreads)
    noise_add(T* x, DropoutKey key, float bound, FlatShape shape) {
  flat_run<T>(shape, [&]<int N>(int64_t i, Run<N>) {
    Floats<N> v = load_run<N>(x + i);
#pragma unroll
    for (int first = 0; first < N; first += 4) {
      const uint64_t group = uint64_t(i + first) / 4;
      const PhiloxCounter random = philox(dropout_counter(key, group), dropout_key(key));
      if constexpr (N == 1) {
        // Not word[i % 4], for which the words would have to lie in memory.
        const uint32_t a = random.word[0], b = random.word[1], c = random.word[2],
                       d = random.word[3];
        v.v[0] += noise_of(i & 2 ? (i & 1 ? d : c) : (i & 1 ? b : a)) * bound;
      } else {
#pragma unroll
        for (int k = first; k < first + 4; ++k) {
          v.v[k] += noise_of(random.word[k - first]) * bound;
        }
      }
    }
    store_run(x + i, v);
  });
}

void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound) {
  with_float_type(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto shape = FlatShape::of<T>(x.numel(), {x.raw()});
    launch(ctx, "add_noise", noise_add<T>, shape.launch(), static_cast<T*>(x.raw()), key, bound,
           shape);
  });
}

}  // namespace tessera::cuda
