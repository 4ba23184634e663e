// cudart's C API: devices, errors, launches.
#include "runtime.h"

#include <cstring>

#include "block.h"
#include "cuda_on_cpu/launch.h"
#include "memory.h"

namespace cuda_on_cpu {
namespace {

constexpr int kSharedDefault = 48 * 1024;
constexpr int kSharedMost = 227 * 1024;
constexpr int kMaxThreadsPerBlock = 1024;

thread_local int thread_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

int capability_of(int device) {
  const std::vector<int>& given = settings().capabilities;
  return size_t(device) < given.size() ? given[size_t(device)] : 90;
}

bool known(int device) { return device >= 0 && device < settings().devices; }

// How many threads __launch_bounds__ allows; without it the hardware's limit.
int launch_bound(const void* function) {
  constexpr unsigned char kNop = 0x90;
  const auto* code = static_cast<const unsigned char*>(function);
  int bound = 0;
  while (bound < kMaxThreadsPerBlock && code[-1 - bound] == kNop) ++bound;
  constexpr int kPadding = 16;  // fewer could as well align the function
  return bound < kPadding ? kMaxThreadsPerBlock : bound;
}

cudaError_t check_limits(Call& c, const Launch& launch) {
  const dim3 &grid = launch.grid, &block = launch.block;
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 ||
      grid.z > 65535 || threads == 0 || threads > kMaxThreadsPerBlock || block.z > 64) {
    return cudaErrorInvalidConfiguration;
  }
  if (int64_t(threads) > launch_bound(launch.function)) return cudaErrorLaunchOutOfResources;
  if (launch.shared_bytes > size_t(c.scheduler.shared_limit(c.device, launch.function))) {
    return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

// What a kernel would fault on if it used it: a pointer to no memory that its device can reach.
void check_addresses(const std::vector<ArgumentWord>& words, int device) {
  for (const ArgumentWord& word : words) {
    if (word.address == nullptr) continue;
    const std::optional<Allocation> allocation = memory().find(word.address);
    const bool elsewhere =
        allocation && allocation->on_device() && allocation->device != device &&
        static_cast<const char*>(word.address) < allocation->start + allocation->bytes;
    if (elsewhere) {
      scheduler().fail(
          device, cudaErrorIllegalAddress,
          "a kernel's argument points to memory of device " + std::to_string(allocation->device));
    } else if (word.is_pointer && !allocation) {
      scheduler().fail(device, cudaErrorIllegalAddress,
                       "a kernel's argument is a pointer, but not to live device memory");
    }
  }
}

}  // namespace

Call::Call()
    : scheduler(cuda_on_cpu::scheduler()), lock(scheduler.enter()), device(thread_device) {}
Call::~Call() { scheduler.leave(); }

int current_device() { return thread_device; }
void set_current_device(int device) { thread_device = device; }

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

cudaError_t remembered(bool forget) {
  const cudaError_t error = last_error;
  if (forget) last_error = cudaSuccess;
  return error;
}

cudaError_t submit(Launch launch) {
  return call([&](Call& c) -> cudaError_t {
    CUstream_st* const stream = c.stream(launch.stream);
    if (stream == nullptr || stream->device != c.device) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t refused = check_limits(c, launch); refused != cudaSuccess) {
      return refused;
    }
    const int device = c.device;
    const Order order = settings().order;
    const uint64_t seed = (settings().order_seed * 0x9E3779B97F4A7C15u) ^
                          (c.scheduler.next_launch(device) * 0xD1B54A32D192ED03u);
    Work work;
    work.opens = device;
    work.before = [device, words = std::move(launch.words)] { check_addresses(words, device); };
    Kernel kernel{launch.function, launch.grid, launch.block, launch.shared_bytes,
                  std::move(launch.body)};
    work.operation = std::make_unique<Operation>([device, order, seed, kernel] {
      const KernelFailure failure = run_kernel(kernel, order, seed);
      if (failure.code != cudaSuccess) fail_device(device, failure.code, failure.message);
      return Outcome::kDone;
    });
    c.scheduler.push(c.lock, *stream, std::move(work));
    return cudaSuccess;
  });
}

cudaError_t enqueue(cudaStream_t handle, std::function<Outcome()> operation) {
  return call([&](Call& c) -> cudaError_t {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    Work work;
    work.operation = std::make_unique<Operation>(std::move(operation));
    c.scheduler.push(c.lock, *stream, std::move(work));
    return cudaSuccess;
  });
}

FencePtr newest_of(cudaStream_t handle) {
  Call c;
  const CUstream_st* const stream = c.stream(handle);
  return stream == nullptr ? nullptr : stream->last;
}

bool comes_after(cudaStream_t handle, const FencePtr& point) {
  Call c;
  const CUstream_st* const stream = c.stream(handle);
  return stream != nullptr && (point == nullptr || c.scheduler.comes_after(*stream, *point));
}

int device_of(cudaStream_t handle) {
  Call c;
  const CUstream_st* const stream = c.stream(handle);
  return stream == nullptr ? -1 : stream->device;
}

bool accessible(const void* p, size_t bytes, int device) {
  const std::optional<Allocation> allocation = memory().find(p);
  return allocation && allocation->holds(p, bytes) &&
         (!allocation->on_device() || allocation->device == device);
}

void fail_device(int device, cudaError_t code, const std::string& message) {
  const Scheduler::Lock lock = scheduler().lock();
  scheduler().fail(device, code, message);
}

}  // namespace cuda_on_cpu

using namespace cuda_on_cpu;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = settings().devices;
  return *count > 0 ? cudaSuccess : remember(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (!known(device)) return remember(cudaErrorInvalidDevice);
  set_current_device(device);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return call([](Call& c) {
    c.scheduler.wait_for_device(c.lock, c.device);
    if (const std::string damage = memory().take_damage(c.device); !damage.empty()) {
      c.scheduler.fail(c.device, cudaErrorIllegalAddress, damage);
    }
    return c.failure();
  });
}

cudaError_t cudaDeviceReset() {
  Call c;
  c.scheduler.wait_for_device(c.lock, c.device);
  c.scheduler.reset(c.device);
  memory().release_device(c.device);
  remembered(true);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!known(device)) return remember(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = kMaxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = kSharedDefault;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kSharedMost;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = kSharedMost + 1024;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = capability_of(device) / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = capability_of(device) % 10;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrConcurrentManagedAccess:
      *value = 0;
      break;
    default:
      return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

// An H100, as far as anybody asks.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!known(device)) return remember(cudaErrorInvalidDevice);
  cudaDeviceProp& p = *properties;
  p = {};
  std::strcpy(p.name, "CUDA on CPU (as H100)");
  p.totalGlobalMem = settings().memory;
  p.sharedMemPerBlock = kSharedDefault;
  p.sharedMemPerBlockOptin = kSharedMost;
  p.sharedMemPerMultiprocessor = kSharedMost + 1024;
  p.reservedSharedMemPerBlock = 1024;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.maxThreadsPerBlock = kMaxThreadsPerBlock;
  p.maxThreadsPerMultiProcessor = 2048;
  p.maxBlocksPerMultiProcessor = 32;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = INT32_MAX;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.major = capability_of(device) / 10;
  p.minor = capability_of(device) % 10;
  p.multiProcessorCount = 132;
  p.l2CacheSize = 50 << 20;
  p.memoryBusWidth = 5120;
  p.asyncEngineCount = 3;
  p.concurrentKernels = p.unifiedAddressing = p.canMapHostMemory = 1;
  p.pciBusID = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  if (!known(device)) return remember(cudaErrorInvalidDevice);
  const std::string id = "0000:" + std::string(1, char('0' + device / 10)) +
                         std::string(1, char('0' + device % 10)) + ":00.0";
  if (size_t(length) <= id.size()) return remember(cudaErrorInvalidValue);
  std::strcpy(text, id.c_str());
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  if (!known(device) || !known(peer)) return remember(cudaErrorInvalidDevice);
  *can = 0;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return call([&](Call& c) {
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        value > kSharedMost) {
      return cudaErrorInvalidValue;
    }
    c.scheduler.shared_limit(c.device, function) = value;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  return call([&](Call& c) {
    *attributes = {};
    attributes->maxThreadsPerBlock = launch_bound(function);
    attributes->maxDynamicSharedSizeBytes = c.scheduler.shared_limit(c.device, function);
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 90;
    return cudaSuccess;
  });
}

cudaError_t cudaPeekAtLastError() {
  const Call c;
  return c.failure() != cudaSuccess ? c.failure() : remembered(false);
}

cudaError_t cudaGetLastError() {
  const Call c;
  const cudaError_t error = remembered(true);
  return c.failure() != cudaSuccess ? c.failure() : error;
}

}  // extern "C"
