// The device side of CUDA for the host compiler: a kernel file that includes this, and launches by
// launch_kernel(), runs on the CPU. Stands in for runtime/cuda/nvcc/gpu_primitives.h, name by name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda_on_cpu/arithmetic.h"
#include "cuda_on_cpu/atomics.h"
#include "cuda_on_cpu/launch.h"
#include "cuda_on_cpu/thread.h"
#include "cuda_on_cpu/warp.h"

#undef __shared__
#define __shared__ static_assert(false, "shared memory is dynamic: DYN_SHARED(T, name)");

/// The block's dynamic shared memory, 128-byte aligned, as an array of T.
#define DYN_SHARED(T, name) T* name = static_cast<T*>(::cuda_on_cpu::shared_memory())

template <class... Params, class... Args>
cudaError_t launch_kernel(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                          cudaStream_t stream, Args... args) {
  if (shared_bytes > 48 * 1024) {
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (status != cudaSuccess) return status;
  }
  return cuda_on_cpu::launch(kernel, grid, block, shared_bytes, stream, args...);
}

/// Fails the kernel where an access of `bytes` bytes would not be aligned.
inline void check_aligned(const void* p, unsigned bytes, CUDA_ON_CPU_HERE) {
  if (reinterpret_cast<uintptr_t>(p) % bytes == 0) return;
  cuda_on_cpu::fail_kernel(cudaErrorMisalignedAddress, "misaligned access", where);
}

inline void cp_async16(void* shared, const void* global, bool valid, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::copy_async(shared, global, 16, valid, where);
}
inline void cp_async_commit() { cuda_on_cpu::copy_async_commit(); }
template <int N>
void cp_async_wait() {
  cuda_on_cpu::copy_async_wait(N);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* shared_row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices(r, shared_row, false, where);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* shared_row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices(r, shared_row, true, where);
}

template <class T>
void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CUDA_ON_CPU_HERE) {
  static_assert(std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half>);
  cuda_on_cpu::multiply_add(
      c, a, b,
      std::is_same_v<T, __half> ? cuda_on_cpu::Element::kHalf : cuda_on_cpu::Element::kBfloat16,
      where);
}
