// CUDA's atomics. Relaxed as there, except under TSan, which does not know fences: there an atomic
// orders, so that "the last block sums up" is not reported.
#pragma once

#include <cstring>
#include <type_traits>

namespace cuda_on_cpu {

#if defined(__SANITIZE_THREAD__)
inline constexpr int kMemoryOrder = __ATOMIC_ACQ_REL;
#else
inline constexpr int kMemoryOrder = __ATOMIC_RELAXED;
#endif

/// Replaces *p by f(*p) and returns what was there.
template <class T, class F>
T atomic_update(T* p, F f) {
  T old;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  T next = f(old);
  while (!__atomic_compare_exchange(p, &old, &next, true, kMemoryOrder, __ATOMIC_RELAXED)) {
    next = f(old);
  }
  return old;
}

}  // namespace cuda_on_cpu

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T x) { return T(x + v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T x) { return x < v ? v : x; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T x) { return v < x ? v : x; });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T x) { return T(x | v); });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T x) { return T(x & v); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return cuda_on_cpu::atomic_update(p, [=](T x) { return x == expected ? v : x; });
}
inline unsigned atomicInc(unsigned* p, unsigned most) {
  return cuda_on_cpu::atomic_update(p, [most](unsigned x) { return x >= most ? 0 : x + 1; });
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
