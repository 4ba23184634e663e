#include "runtime/core/buffer.h"

#include <sys/mman.h>

#include "runtime/core/error.h"

namespace tessera {

void Buffer::Unmap::operator()(std::byte* p) const { munmap(p, bytes); }

Buffer Buffer::host(size_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("out of memory: cannot get {} MiB of host memory", bytes >> 20);
  if (bytes >= (size_t{4} << 20)) madvise(p, bytes, MADV_HUGEPAGE);
  buffer.data_ = std::unique_ptr<std::byte, Unmap>(static_cast<std::byte*>(p), Unmap(bytes));
  buffer.size_ = bytes;
  return buffer;
}

}  // namespace tessera
