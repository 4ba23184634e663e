// How a failed call of the CUDA runtime becomes an Error that names the call and its place.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/core/error.h"

namespace tessera::cuda {

inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a failure that does not stick must not be met again by a later call
  fail("{}:{}: {}: {} ({})", file, line, call, cudaGetErrorString(status),
       cudaGetErrorName(status));
}

}  // namespace tessera::cuda

#define TESSERA_CUDA(call) ::tessera::cuda::check((call), #call, __FILE__, __LINE__)
