#include "runtime/core/cuda_runtime.h"

#include <cuda_runtime_api.h>

#include <cstring>

#include "runtime/core/error.h"

namespace tessera::cuda {
namespace {

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a failure that does not stick must not be met again by a later call
  fail("{}:{}: {}: {} ({})", file, line, call, cudaGetErrorString(status),
       cudaGetErrorName(status));
}
#define TESSERA_CUDA(call) check((call), #call, __FILE__, __LINE__)

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

std::vector<GpuInfo> gpus(std::string& why_none) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    int driver = 0;
    cudaDriverGetVersion(&driver);
    why_none = status == cudaSuccess ? "the driver shows no GPU"
               : driver == 0         ? "there is no NVIDIA driver"
                                     : cudaGetErrorString(status);
    return {};
  }
  std::vector<GpuInfo> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    const cudaError_t asked = cudaGetDeviceProperties(&properties, i);
    if (asked == cudaSuccess) {
      found.push_back({i, properties.name, properties.totalGlobalMem,
                       properties.major * 10 + properties.minor, ""});
    } else {
      cudaGetLastError();
      found.push_back({i, "a GPU", 0, 0, cudaGetErrorString(asked)});
    }
  }
  return found;
}

std::string describe_runtime() {
  const auto number = [](int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  };
  int runtime = 0, driver = 0;
  TESSERA_CUDA(cudaRuntimeGetVersion(&runtime));
  TESSERA_CUDA(cudaDriverGetVersion(&driver));
  return fmt::format("CUDA {}, {}", number(runtime),
                     driver == 0 ? "no driver" : "driver for CUDA " + number(driver));
}

DeviceMemory memory_of(Device device) {
  use(device);
  DeviceMemory memory{};
  TESSERA_CUDA(cudaMemGetInfo(&memory.free, &memory.total));
  return memory;
}

void use(Device device) {
  const cudaError_t status = cudaSetDevice(device.index);
  if (status != cudaSuccess) {
    fail("device cuda:{} cannot be used: {}; `tessera doctor` shows what there is", device.index,
         cudaGetErrorString(status));
  }
}

void* allocate(Device device, size_t bytes) {
  use(device);
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail("out of memory: cannot get {} MiB of cuda:{}, which has {} of {} MiB free", bytes >> 20,
         device.index, free >> 20, total >> 20);
  }
  TESSERA_CUDA(cudaMemset(memory, 0, bytes));
  TESSERA_CUDA(cudaDeviceSynchronize());  // no stream waits for the legacy one
  return memory;
}

void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  // Portable: ranks that are threads share it.
  if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable) != cudaSuccess) {
    cudaGetLastError();
    fail("out of memory: cannot get {} MiB of pinned host memory; `ulimit -l` may limit it",
         bytes >> 20);
  }
  std::memset(memory, 0, bytes);
  return memory;
}

// What was given must be given back whatever is wrong by now, and there is nobody to tell.
void release(Device device, void* memory) noexcept {
  cudaSetDevice(device.index);
  cudaFree(memory);
}
void release_pinned(void* memory) noexcept { cudaFreeHost(memory); }

std::shared_ptr<void> pin(const void* memory, size_t bytes) {
  void* address = const_cast<void*>(memory);
  const cudaError_t status = cudaHostRegister(address, bytes, cudaHostRegisterPortable);
  if (status == cudaErrorHostMemoryAlreadyRegistered) {
    cudaGetLastError();
    return nullptr;
  }
  TESSERA_CUDA(status);
  return {address, [](void* p) { cudaHostUnregister(p); }};
}

std::shared_ptr<void> make_stream(Device device) {
  use(device);
  cudaStream_t stream = nullptr;
  TESSERA_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return {stream, [](void* s) {
            cudaStreamSynchronize(stream_of(s));
            cudaStreamDestroy(stream_of(s));
          }};
}

void copy(void* stream, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  TESSERA_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)));
}

void fill_zero(void* stream, void* memory, size_t bytes) {
  if (bytes == 0) return;
  TESSERA_CUDA(cudaMemsetAsync(memory, 0, bytes, stream_of(stream)));
}

namespace {

std::shared_ptr<void> record(void* stream, unsigned flags) {
  cudaEvent_t event = nullptr;
  TESSERA_CUDA(cudaEventCreateWithFlags(&event, flags));
  std::shared_ptr<void> owner(event, [](void* e) { cudaEventDestroy(event_of(e)); });
  TESSERA_CUDA(cudaEventRecord(event, stream_of(stream)));
  return owner;
}

}  // namespace

std::shared_ptr<void> record(void* stream) { return record(stream, cudaEventDisableTiming); }
std::shared_ptr<void> record_timed(void* stream) { return record(stream, cudaEventDefault); }

double seconds_between(void* from, void* to) {
  float milliseconds = 0.0f;
  TESSERA_CUDA(cudaEventElapsedTime(&milliseconds, event_of(from), event_of(to)));
  return double(milliseconds) / 1e3;
}

void wait(void* stream, void* event) {
  TESSERA_CUDA(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}

void wait(void* event) { TESSERA_CUDA(cudaEventSynchronize(event_of(event))); }

bool reached(void* event) {
  const cudaError_t status = cudaEventQuery(event_of(event));
  if (status == cudaErrorNotReady) return false;
  TESSERA_CUDA(status);
  return true;
}

}  // namespace tessera::cuda
