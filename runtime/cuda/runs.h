// Runs: neighbouring elements that one thread moves together, widened to float. Memory whose
// addresses and lengths allow it is walked in runs of 16 bytes, all other in runs of one element,
// by the same code.
#pragma once

#include <type_traits>

#include "runtime/cuda/kernel.h"

namespace tessera::cuda {

template <int N>
using Run = std::integral_constant<int, N>;

template <int N>
struct Floats {
  float v[N];
};

/// N elements of T in accesses of at most 16 bytes.
template <class T, int N>
struct RunAccess {
  static constexpr int kBytes = N * sizeof(T) < 16 ? N * sizeof(T) : 16;
  static constexpr int kSize = kBytes / sizeof(T);
  struct alignas(kBytes) One {
    T v[kSize];
  };
};

/// p is a multiple of N elements away from where a run may start.
template <int N, class T>
__device__ inline Floats<N> load_run(const T* p) {
  using Access = RunAccess<T, N>;
  check_aligned(p, Access::kBytes);
  Floats<N> floats;
#pragma unroll
  for (int at = 0; at < N; at += Access::kSize) {
    const auto one = *reinterpret_cast<const typename Access::One*>(p + at);
#pragma unroll
    for (int i = 0; i < Access::kSize; ++i) floats.v[at + i] = widened(one.v[i]);
  }
  return floats;
}
template <int N, class T>
__device__ inline void store_run(T* p, const Floats<N>& floats) {
  using Access = RunAccess<T, N>;
  check_aligned(p, Access::kBytes);
#pragma unroll
  for (int at = 0; at < N; at += Access::kSize) {
    typename Access::One one;
#pragma unroll
    for (int i = 0; i < Access::kSize; ++i) one.v[i] = narrowed<T>(floats.v[at + i]);
    *reinterpret_cast<typename Access::One*>(p + at) = one;
  }
}

/// A flat array dealt to threads: one run of 16 bytes each, then one element each.
struct FlatShape {
  static constexpr int kThreads = 256;
  int64_t runs;
  int64_t elements;
  int64_t threads;

  /// Of arrays of `elements` Ts at `pointers`.
  template <class T>
  static FlatShape of(int64_t elements, std::initializer_list<const void*> pointers) {
    constexpr int kSize = Pack<T>::kSize;
    const int64_t runs = packs_fit<T>(0, pointers) ? elements / kSize : 0;
    return {runs, elements, runs + elements - runs * kSize};
  }
  LaunchShape launch() const {
    return {dim3(unsigned(ceil_div<int64_t>(threads, kThreads))), dim3(kThreads)};
  }
};

/// Calls f(first element, Run<N>) for the calling thread's part of a flat array.
template <class T, class F>
__device__ inline void flat_run(const FlatShape& shape, F&& f) {
  constexpr int kSize = Pack<T>::kSize;
  const int64_t thread = int64_t(blockIdx.x) * FlatShape::kThreads + threadIdx.x;
  if (thread < shape.runs) return f(thread * kSize, Run<kSize>());
  const int64_t element = shape.runs * kSize + (thread - shape.runs);
  if (element < shape.elements) f(element, Run<1>());
}

/// A row, and whether it is walked in runs of 16 bytes: decided once for all rows of a matrix.
struct RowShape {
  int columns;
  bool in_packs;

  template <class T>
  static RowShape of(int64_t columns, std::initializer_list<const void*> pointers) {
    return {int(columns), packs_fit<T>(columns, pointers)};
  }
};

/// Calls f(first column, Run<N>) for the runs of a row that fall to `thread` of `threads`.
template <class T, class F>
__device__ inline void row_runs(const RowShape& row, int thread, int threads, F&& f) {
  constexpr int kSize = Pack<T>::kSize;
  if (row.in_packs) {
    for (int c = thread * kSize; c < row.columns; c += threads * kSize) f(c, Run<kSize>());
  } else {
    for (int c = thread; c < row.columns; c += threads) f(c, Run<1>());
  }
}

/// Threads of a block that walks one row: whole warps, no more than the row has runs for.
template <class T>
int row_threads(const RowShape& row, int most) {
  const int runs = row.in_packs ? row.columns / Pack<T>::kSize : row.columns;
  return std::clamp(ceil_div(runs, kWarp) * kWarp, kWarp, most);
}

}  // namespace tessera::cuda
