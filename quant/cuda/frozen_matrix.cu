// The search for weights that no frozen format can hold.
#include "quant/frozen_matrix.h"

#include "runtime/core/buffer.h"
#include "runtime/cuda/kernel.h"

namespace tessera::quant::cuda {
namespace {

using tessera::cuda::ceil_div;
using tessera::cuda::launch;
using tessera::cuda::widened;
using tessera::cuda::with_float_type;

constexpr int kThreads = 256;
constexpr int64_t kPerThread = 16;
using Index = unsigned long long;

}  // namespace

// Reads each element once, once a run: bound by memory. Threads of a warp read neighbours, and the
// atomic, whose minimum has no order, is met by what a run refuses only.
template <class T>
static __global__ void __launch_bounds__(kThreads)
    frozen_matrix_first_not_below(const T* x, int64_t count, float limit, Index* first) {
  const int64_t begin = int64_t{blockIdx.x} * (kThreads * kPerThread);
  const int64_t end = min(begin + kThreads * kPerThread, count);
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    if (!(fabsf(widened(x[i])) < limit)) atomicMin(first, Index(i));
  }
}

int64_t first_not_below(Context& ctx, Tensor w, float limit) {
  Stream& stream = ctx.compute_stream();
  const Buffer memory = Buffer::on(ctx.device(), sizeof(Index));
  const Index none = ~Index{0};
  stream.copy(memory.data(), &none, sizeof none);
  const int64_t count = w.numel();
  with_float_type(w.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(ctx, "first_not_below", frozen_matrix_first_not_below<T>,
           {dim3(unsigned(ceil_div(count, kThreads * kPerThread))), dim3(kThreads)},
           static_cast<const T*>(w.raw()), count, limit, memory.as<Index>());
  });
  Index first = none;
  stream.copy(&first, memory.data(), sizeof first);
  stream.synchronize();
  return first == none ? -1 : int64_t(first);
}

}  // namespace tessera::quant::cuda
