// cudart's C API: memory and copies.
#include <cstring>

#include "memory.h"
#include "runtime.h"

namespace cuda_on_cpu {
namespace {

using Kind = Allocation::Kind;

/// One side of a copy.
struct Place {
  bool valid = true;  // the bytes lie in one allocation, or in memory nobody told about
  bool device = false;
  bool pinned = false;
};

Place place_of(const void* p, size_t bytes) {
  const std::optional<Allocation> a = memory().find(p);
  if (!a) return {};
  return {a->holds(p, bytes), a->on_device(), !a->on_device()};
}

bool kind_fits(cudaMemcpyKind kind, const Place& to, const Place& from) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to.device && !from.device;
    case cudaMemcpyHostToDevice:
      return to.device && !from.device;
    case cudaMemcpyDeviceToHost:
      return !to.device && from.device;
    case cudaMemcpyDeviceToDevice:
      return to.device && from.device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

// Memory that was alive at the call may be freed, in stream order, before the copy runs.
void check_still_there(int device, const void* p, size_t bytes, const Place& was) {
  if (!was.device && !was.pinned) return;
  const Place now = place_of(p, bytes);
  if (now.valid && now.device == was.device && now.pinned == was.pinned) return;
  scheduler().fail(device, cudaErrorIllegalAddress, "a copy of memory that was freed");
}

Work copy_work(int device, void* to, const void* from, size_t bytes, Place target, Place source) {
  Work work;
  work.before = [=] {
    check_still_there(device, to, bytes, target);
    check_still_there(device, from, bytes, source);
  };
  if (target.device && !source.device && !source.pinned) {
    // Pageable memory is read at the call, into a buffer of the driver's.
    const auto* bytes_of = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(bytes_of, bytes_of + bytes);
    work.before = [=] { check_still_there(device, to, bytes, target); };
    work.operation = std::make_unique<Operation>([to, staged] {
      std::memcpy(to, staged->data(), staged->size());
      return Outcome::kDone;
    });
    return work;
  }
  work.operation = std::make_unique<Operation>([to, from, bytes] {
    std::memmove(to, from, bytes);
    return Outcome::kDone;
  });
  return work;
}

cudaError_t copy(Call& c, void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                 cudaStream_t handle, bool synchronous) {
  CUstream_st* const stream = c.stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const Place target = place_of(to, bytes), source = place_of(from, bytes);
  if (!target.valid || !source.valid || !kind_fits(kind, target, source)) {
    return cudaErrorInvalidValue;
  }
  c.scheduler.push(c.lock, *stream, copy_work(stream->device, to, from, bytes, target, source));
  // As NVIDIA's "API synchronization behavior": between devices nobody waits; a pageable source is
  // staged, a pageable target waited for, whatever the call.
  const bool pageable_source = !source.device && !source.pinned;
  const bool pageable_target = !target.device && !target.pinned;
  const bool staged = target.device && pageable_source;
  const bool waits = pageable_target || (!target.device && !source.device) ||
                     (synchronous && !staged && !(target.device && source.device));
  if (waits) {
    c.scheduler.wait_for_stream(c.lock, *stream);
    return c.scheduler.failure(stream->device);
  }
  return cudaSuccess;
}

cudaError_t set(Call& c, void* p, int value, size_t bytes, cudaStream_t handle) {
  CUstream_st* const stream = c.stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const Place target = place_of(p, bytes);
  if (!target.valid || (!target.device && !target.pinned)) return cudaErrorInvalidValue;
  Work work;
  const int device = stream->device;
  work.before = [=] { check_still_there(device, p, bytes, target); };
  work.operation = std::make_unique<Operation>([=] {
    std::memset(p, value, bytes);
    return Outcome::kDone;
  });
  c.scheduler.push(c.lock, *stream, std::move(work));
  return cudaSuccess;
}

cudaError_t allocate(Call& c, void** p, size_t bytes) {
  *p = nullptr;
  if (bytes == 0) return cudaSuccess;
  *p = memory().allocate(c.device, bytes);
  return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

// Freeing waits for the device, as NVIDIA's driver does.
cudaError_t free_now(Call& c, void* p, Kind kind) {
  if (p == nullptr) return cudaSuccess;
  const std::optional<Allocation> a = memory().find(p);
  if (!a || a->start != p || a->kind != kind) return cudaErrorInvalidValue;
  if (kind == Kind::kDevice) {
    c.scheduler.wait_for_device(c.lock, a->device);
  } else {
    for (int d = 0; d < settings().devices; ++d) c.scheduler.wait_for_device(c.lock, d);
  }
  return memory().release(p, kind) ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace
}  // namespace cuda_on_cpu

using namespace cuda_on_cpu;

extern "C" {

cudaError_t cudaMalloc(void** p, size_t bytes) {
  return call([&](Call& c) { return allocate(c, p, bytes); });
}

cudaError_t cudaFree(void* p) {
  return call([&](Call& c) { return free_now(c, p, Kind::kDevice); });
}

cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t handle) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = allocate(c, p, bytes);
    if (error != cudaSuccess || bytes == 0) return error;
    // There from here on in this stream alone.
    return set(c, *p, 0xFF, bytes, handle);
  });
}

cudaError_t cudaFreeAsync(void* p, cudaStream_t handle) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (p == nullptr) return cudaSuccess;
    const std::optional<Allocation> a = memory().find(p);
    if (!a || a->start != p || a->kind != Kind::kDevice) return cudaErrorInvalidValue;
    Work work;
    work.before = [p, device = stream->device] {
      if (memory().detach(p, Kind::kDevice)) return;
      scheduler().fail(device, cudaErrorIllegalAddress, "memory freed twice");
    };
    work.operation = std::make_unique<Operation>([allocation = *a] {
      memory().dispose(allocation);
      return Outcome::kDone;
    });
    c.scheduler.push(c.lock, *stream, std::move(work));
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  return cudaHostAlloc(p, bytes, cudaHostAllocDefault);
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned flags) {
  return call([&](Call& c) {
    *p = nullptr;
    if ((flags & ~unsigned(cudaHostAllocPortable | cudaHostAllocMapped |
                           cudaHostAllocWriteCombined)) != 0) {
      return cudaErrorInvalidValue;
    }
    if (bytes == 0) return cudaSuccess;
    *p = memory().allocate_pinned(c.device, bytes);
    return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* p) {
  return call([&](Call& c) { return free_now(c, p, Kind::kPinned); });
}

cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned) {
  return call([&](Call& c) {
    if (p == nullptr || bytes == 0) return cudaErrorInvalidValue;
    const std::optional<Allocation> a = memory().find(p);
    if (a && a->start <= p && p < a->start + a->bytes) {
      return cudaErrorHostMemoryAlreadyRegistered;
    }
    memory().register_host(c.device, p, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* p) {
  return call([&](Call& c) {
    const cudaError_t error = free_now(c, p, Kind::kRegistered);
    return error == cudaErrorInvalidValue ? cudaErrorHostMemoryNotRegistered : error;
  });
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* p, unsigned) {
  return call([&](Call&) {
    const Place place = place_of(p, 1);
    *device_pointer = p;
    return place.valid && place.pinned ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call([&](Call& c) {
    *total = settings().memory;
    *free = *total - memory().used(c.device);
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  return call([&](Call&) {
    *attributes = {};
    const std::optional<Allocation> a = memory().find(p);
    if (!a || !a->holds(p, 1)) {
      attributes->type = cudaMemoryTypeUnregistered;
      attributes->device = cudaInvalidDeviceId;
      attributes->hostPointer = const_cast<void*>(p);
      return cudaSuccess;
    }
    attributes->type = a->on_device() ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->device = a->device;
    attributes->devicePointer = const_cast<void*>(p);
    attributes->hostPointer = a->on_device() ? nullptr : const_cast<void*>(p);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return call([&](Call& c) { return copy(c, to, from, bytes, kind, nullptr, true); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call([&](Call& c) { return copy(c, to, from, bytes, kind, stream, false); });
}

cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  return call([&](Call& c) { return set(c, p, value, bytes, nullptr); });
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  return call([&](Call& c) { return set(c, p, value, bytes, stream); });
}

}  // extern "C"
