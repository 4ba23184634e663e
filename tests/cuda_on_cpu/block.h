// Runs a kernel: block after block, each thread of a block on a stack of its own where it has to
// wait. Any number of OS threads may run kernels at once.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

namespace cuda_on_cpu {

enum class Order { kAscending, kDescending, kRandom };

struct Kernel {
  const void* function = nullptr;
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  std::function<void()> body;  // the kernel's code, as the thread that threadIdx names
};

struct KernelFailure {
  cudaError_t code = cudaSuccess;
  std::string message;
};

/// Runs it to its end or first failure. `order` is that of blocks and of the threads in a block;
/// the same seed gives the same random order. Limits of launches are the caller's to check.
KernelFailure run_kernel(const Kernel& kernel, Order order, uint64_t seed);

}  // namespace cuda_on_cpu
