#include "runtime/core/context.h"

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"

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

}  // namespace tessera
