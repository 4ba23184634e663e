#include "launch/machine/freed_memory.h"

#include <malloc.h>

namespace tessera::launch {

void return_freed_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // A sanitizer has an allocator of its own. The C library's is unused then, and two threads that
  // begin to use it by trimming it run into each other.
  malloc_trim(0);
#endif
}

}  // namespace tessera::launch
