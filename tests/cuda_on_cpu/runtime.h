// What every function of the runtime stand-in does first and last: it locks, refuses on a device
// that has failed, and remembers an error for cudaGetLastError.
#pragma once

#include "scheduler.h"

namespace cuda_on_cpu {

class Call {
 public:
  Call();
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Scheduler& scheduler;
  Scheduler::Lock lock;
  const int device;  // the calling thread's

  cudaError_t failure() const { return scheduler.failure(device); }
  /// Refuses a stream that is not alive by returning null.
  CUstream_st* stream(cudaStream_t handle) { return scheduler.stream_of(handle, device); }
};

int current_device();
void set_current_device(int device);

/// Remembers an error for the thread's cudaGetLastError.
cudaError_t remember(cudaError_t error);
/// Returns what is remembered, and forgets it where `forget`.
cudaError_t remembered(bool forget);

template <class F>
cudaError_t call(F&& body) {
  if (HostFunction::running()) return remember(cudaErrorNotPermitted);
  Call c;
  const cudaError_t broken = c.failure();
  return remember(broken != cudaSuccess ? broken : body(c));
}

}  // namespace cuda_on_cpu
