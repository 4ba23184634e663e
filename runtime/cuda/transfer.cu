#include "runtime/ops/transfer.h"

#include "runtime/cuda/kernel.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

// Reads and writes each element once: bound by memory. Adapters are small, so one element a thread.
template <class To, class From>
static __global__ void __launch_bounds__(kThreads)
    transfer_convert(To* y, const From* x, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) y[i] = narrowed<To>(widened(x[i]));
}

void convert(Context& ctx, Tensor y, Tensor x) {
  const int64_t count = x.numel();
  with_float_type(y.dtype(), [&](auto to) {
    with_float_type(x.dtype(), [&](auto from) {
      using To = typename decltype(to)::type;
      using From = typename decltype(from)::type;
      launch(ctx, "convert", transfer_convert<To, From>,
             {dim3(unsigned(ceil_div<int64_t>(count, kThreads))), dim3(kThreads)},
             static_cast<To*>(y.raw()), static_cast<const From*>(x.raw()), count);
    });
  });
}

}  // namespace tessera::cuda
