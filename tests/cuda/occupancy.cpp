// Of lines "compute_capability registers shared_bytes threads" on standard input: how many such
// blocks an SM holds at once, by NVIDIA's calculator, and how many threads it could hold.
#include <cuda_occupancy.h>

#include <climits>
#include <iostream>

namespace {

cudaOccDeviceProp gpu(int capability) {
  // CUDA programming guide, "Technical Specifications per Compute Capability".
  const bool small = capability == 86 || capability == 89;
  cudaOccDeviceProp p;
  p.computeMajor = capability / 10;
  p.computeMinor = capability % 10;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = small ? 1536 : 2048;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.sharedMemPerBlock = 48 << 10;
  p.sharedMemPerMultiprocessor = (small ? 100 : capability == 80 ? 164 : 228) << 10;
  p.numSms = 1;
  p.reservedSharedMemPerBlock = 1 << 10;
  p.sharedMemPerBlockOptin = p.sharedMemPerMultiprocessor - p.reservedSharedMemPerBlock;
  return p;
}

}  // namespace

int main() {
  int capability, registers, threads;
  size_t shared;
  while (std::cin >> capability >> registers >> shared >> threads) {
    const cudaOccDeviceProp properties = gpu(capability);
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = INT_MAX;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = 0;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = properties.sharedMemPerBlockOptin;
    kernel.numBlockBarriers = 1;
    const cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &kernel, &state, threads,
                                                shared) != CUDA_OCC_SUCCESS) {
      return 1;
    }
    std::cout << result.activeBlocksPerMultiprocessor << ' '
              << properties.maxThreadsPerMultiprocessor << '\n';
  }
}
