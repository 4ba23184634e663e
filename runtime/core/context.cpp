#include "runtime/core/context.h"

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera {
namespace {

Device in_use(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) cuda::use(device);
  } else {
    TESSERA_CHECK(!device.is_cuda());
  }
  return device;
}

}  // namespace

Context::Context(Device device, int threads, uint64_t seed)
    : device_(in_use(device)),
      threads_(threads),
      seed_(seed),
      scratch_(device),
      compute_(Stream::of_operators(device)),
      copy_(device),
      comm_(device) {}

Context::Context(Device device, DType compute)
    : device_(device),
      threads_(1),
      seed_(0),
      compute_dtype_(compute),
      scratch_(device),
      compute_(Stream::of_operators(Device::cpu())),
      copy_(Stream::of_operators(Device::cpu())),
      comm_(Stream::of_operators(Device::cpu())) {}

}  // namespace tessera
