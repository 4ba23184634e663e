// cudart's C API: streams, events, host functions.
#include <algorithm>
#include <atomic>
#include <thread>

#include "runtime.h"

using namespace cuda_on_cpu;

namespace {

// Work that only stands in the stream's order.
void push_wait(Call& c, CUstream_st& stream, const FencePtr& fence) {
  Work work;
  work.waits = {fence};
  c.scheduler.push(c.lock, stream, std::move(work));
}

// A host function has a thread of its own, as a driver gives it: it may wait for other threads.
class HostWork {
 public:
  HostWork(cudaHostFn_t function, void* data) : function_(function), data_(data) {}
  Outcome step() {
    if (!thread_.joinable()) {
      thread_ = std::jthread([this] {
        const HostFunction here;
        function_(data_);
        ended_ = true;
      });
    }
    if (!ended_) return Outcome::kNotYet;
    thread_.join();
    return Outcome::kDone;
  }

 private:
  cudaHostFn_t function_;
  void* data_;
  std::atomic<bool> ended_ = false;
  std::jthread thread_;
};

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Call& c) {
    if ((flags & ~unsigned(cudaStreamNonBlocking)) != 0) return cudaErrorInvalidValue;
    *stream = c.scheduler.create_stream(c.device, flags);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

// What is queued still runs.
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr || stream != handle) return cudaErrorInvalidResourceHandle;
    c.scheduler.retire(*stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    c.scheduler.wait_for_stream(c.lock, *stream);
    return c.scheduler.failure(stream->device);
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->last == nullptr) return cudaSuccess;
    const FencePtr fence = stream->last;
    c.scheduler.nudge(c.lock, fence);
    return fence->done ? c.scheduler.failure(stream->device) : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned flags) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    const CUevent_st* const event = c.scheduler.event_of(event_handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    if (flags != cudaEventWaitDefault) return cudaErrorInvalidValue;
    if (event->fence != nullptr) push_wait(c, *stream, event->fence);
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return call([&](Call& c) {
    CUstream_st* const stream = c.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (function == nullptr) return cudaErrorInvalidValue;
    Work work;
    work.opens = kNoDevice;
    work.operation = std::make_unique<Operation>(
        [host = std::make_shared<HostWork>(function, data)] { return host->step(); });
    c.scheduler.push(c.lock, *stream, std::move(work));
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Call& c) {
    if ((flags & ~unsigned(cudaEventBlockingSync | cudaEventDisableTiming)) != 0) {
      return cudaErrorInvalidValue;
    }
    *event = c.scheduler.create_event(c.device, flags);
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return call([&](Call& c) {
    CUevent_st* const event = c.scheduler.event_of(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    c.scheduler.destroy_event(event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  return call([&](Call& c) {
    CUevent_st* const event = c.scheduler.event_of(handle);
    CUstream_st* const stream = c.stream(stream_handle);
    if (event == nullptr || stream == nullptr || event->device != stream->device) {
      return cudaErrorInvalidResourceHandle;
    }
    c.scheduler.push(c.lock, *stream, {});
    event->fence = stream->last;
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return call([&](Call& c) {
    const CUevent_st* const event = c.scheduler.event_of(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const int device = event->device;
    c.scheduler.wait(c.lock, event->fence);
    return c.scheduler.failure(device);
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return call([&](Call& c) {
    const CUevent_st* const event = c.scheduler.event_of(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const FencePtr fence = event->fence;
    const int device = event->device;
    if (fence == nullptr) return cudaSuccess;
    c.scheduler.nudge(c.lock, fence);
    return fence->done ? c.scheduler.failure(device) : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return call([&](Call& c) {
    double at[2];
    const cudaEvent_t handles[2] = {from, to};
    for (int i = 0; i < 2; ++i) {
      const CUevent_st* const event = c.scheduler.event_of(handles[i]);
      if (event == nullptr || event->fence == nullptr ||
          (event->flags & cudaEventDisableTiming) != 0) {
        return cudaErrorInvalidResourceHandle;
      }
      if (!event->fence->done) return cudaErrorNotReady;
      at[i] = event->fence->milliseconds;
    }
    if (c.scheduler.event_of(from)->device != c.scheduler.event_of(to)->device) {
      return cudaErrorInvalidResourceHandle;
    }
    *milliseconds = float(at[1] - at[0]);
    return cudaSuccess;
  });
}

}  // extern "C"
