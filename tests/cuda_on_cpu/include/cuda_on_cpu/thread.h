// What a CUDA thread can see and ask for while it runs: its indices, its block's barrier, its warp.
// Every function may suspend the thread and let others of the block go on.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <source_location>

// Of the thread that the calling OS thread runs now.
inline constinit thread_local uint3 threadIdx{};
inline constinit thread_local uint3 blockIdx{};
inline constinit thread_local dim3 blockDim{};
inline constinit thread_local dim3 gridDim{};
inline constexpr int warpSize = 32;

namespace cuda_on_cpu {

/// Where in the source a call stands: all threads have to meet at the same place.
using Where = std::source_location;

/// Ends the kernel, and so the device: the code sticks until cudaDeviceReset.
[[noreturn]] void fail_kernel(cudaError_t code, const char* what, Where where);

void barrier(Where where);
/// The barrier, and how many threads came with true.
unsigned barrier_count(bool predicate, Where where);
/// Orders memory among the lanes of `mask`; shuffles and votes do not.
void warp_barrier(unsigned mask, Where where);
/// Each lane gets what lane `source` brought; its own where `source` is negative.
void shuffle(unsigned mask, void* value, size_t bytes, int source, Where where);
unsigned ballot(unsigned mask, bool predicate, Where where);
int lane();

/// The block's dynamic shared memory, filled with 0xFF before the block starts.
void* shared_memory();

/// cp.async of the calling thread: bytes arrive when a wait says so, and are 0xFF until then.
void copy_async(void* shared, const void* global, size_t bytes, bool valid, Where where);
void copy_async_commit();
void copy_async_wait(int groups_under_way);

/// ldmatrix .x4 and mma.m16n8k16 of a whole warp, in the fragment layouts of the PTX ISA.
void load_matrices(uint32_t (&r)[4], const void* shared_row, bool transposed, Where where);
enum class Element { kBfloat16, kHalf };
void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Element element,
                  Where where);

}  // namespace cuda_on_cpu
