// CUDA's barriers, shuffles and votes by their own names.
#pragma once

#include "cuda_on_cpu/thread.h"

#define CUDA_ON_CPU_HERE ::cuda_on_cpu::Where where = ::cuda_on_cpu::Where::current()

inline void __syncthreads(CUDA_ON_CPU_HERE) { cuda_on_cpu::barrier(where); }
inline int __syncthreads_count(int predicate, CUDA_ON_CPU_HERE) {
  return int(cuda_on_cpu::barrier_count(predicate != 0, where));
}
inline int __syncthreads_or(int predicate, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::barrier_count(predicate != 0, where) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::barrier_count(predicate == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::warp_barrier(mask, where);
}

// Lanes outside of the segment of `width` keep their own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_ON_CPU_HERE) {
  const int segment = cuda_on_cpu::lane() & ~(width - 1);
  cuda_on_cpu::shuffle(mask, &value, sizeof value, segment | (source & (width - 1)), where);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_ON_CPU_HERE) {
  const int lane = cuda_on_cpu::lane();
  const int end = (lane & ~(width - 1)) + width;
  const int source = lane ^ bits;
  cuda_on_cpu::shuffle(mask, &value, sizeof value, source < end ? source : -1, where);
  return value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_ON_CPU_HERE) {
  const int lane = cuda_on_cpu::lane();
  const int source = (lane & (width - 1)) + int(delta) < width ? lane + int(delta) : -1;
  cuda_on_cpu::shuffle(mask, &value, sizeof value, source, where);
  return value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_ON_CPU_HERE) {
  const int lane = cuda_on_cpu::lane();
  const int source = (lane & (width - 1)) >= int(delta) ? lane - int(delta) : -1;
  cuda_on_cpu::shuffle(mask, &value, sizeof value, source, where);
  return value;
}

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot(mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot(mask, predicate != 0, where) == mask;
}
