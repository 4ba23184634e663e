#include "runtime/core/buffer.h"

#include <sys/mman.h>

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera {

void Buffer::Release::operator()(std::byte* p) const {
  if constexpr (kHasCuda) {
    if (kind == Kind::kDevice) return cuda::release(device, p);
    if (kind == Kind::kPinned) return cuda::release_pinned(p);
  }
  munmap(p, bytes);
}

Buffer Buffer::host(size_t bytes) {
  if (bytes == 0) return {};
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("out of memory: cannot get {} MiB of host memory", bytes >> 20);
  if (bytes >= (size_t{4} << 20)) madvise(p, bytes, MADV_HUGEPAGE);
  return {p, {Kind::kHost, bytes, Device::cpu()}};
}

Buffer Buffer::on(Device device, size_t bytes) {
  if (!device.is_cuda()) return host(bytes);
  if (bytes == 0) return {};
  if constexpr (kHasCuda) {
    return {cuda::allocate(device, bytes), {Kind::kDevice, bytes, device}};
  }
  fail("this build has no CUDA backend");
}

Buffer Buffer::staging_for(Device device, size_t bytes) {
  if constexpr (kHasCuda) {
    if (device.is_cuda() && bytes > 0) {
      return {cuda::allocate_pinned(bytes), {Kind::kPinned, bytes, device}};
    }
  }
  return host(bytes);
}

}  // namespace tessera
