// Memory of the threads of a parallel region, one T for each, made before the region: a task that
// allocated could fail where nobody can do anything about it. The context keeps it, so that it is
// made once; what a T holds after a task is undefined for the next one.
#pragma once

#include <typeindex>
#include <vector>

#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::cpu {

/// A buffer of at least `bytes` for each thread of the context; zero-filled when they are made.
/// Stays where it is for as long as the context lives.
const std::vector<Buffer>& thread_buffers(Context& ctx, std::type_index what, size_t bytes);

template <class T>
class ThreadMemory {
 public:
  /// Throws Error when there is no more memory.
  explicit ThreadMemory(Context& ctx) : buffers_(thread_buffers(ctx, typeid(T), sizeof(T))) {}
  /// Of the thread that parallel_for() names.
  T& of(int thread) const { return *buffers_[size_t(thread)].as<T>(); }

 private:
  const std::vector<Buffer>& buffers_;
};

}  // namespace tessera::cpu
