// Streams and who runs them. There are no threads of devices: host threads run queued work inside
// their calls, as the mode of streams says, and one thread goes on with it when they are silent.
// All members are called with the lock held unless said otherwise; work runs without it.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "control.h"
#include "fibers.h"
#include "queue.h"

namespace cuda_on_cpu {

/// How many pieces of each stream's work, by its number, are over before a point is reached.
using Clock = std::map<uint64_t, uint64_t>;
using ClockPtr = std::shared_ptr<const Clock>;

/// The end of one piece of work. Its address is TSan's tag for what came before it.
struct Fence {
  CUstream_st* stream = nullptr;
  uint64_t stream_number = 0, work_number = 0;
  ClockPtr before;  // of other streams; null: nothing
  bool done = false;
  double milliseconds = 0;
};

constexpr int kAllDevices = -1;
constexpr int kNoDevice = -2;

using Operation = std::function<Outcome()>;

struct Work {
  std::unique_ptr<Operation> operation;  // none: only waits
  std::vector<FencePtr> waits;
  int opens = kAllDevices;       // whose memory it may touch
  std::function<void()> before;  // with the lock held; may fail the device
  FencePtr fence;
};

}  // namespace cuda_on_cpu

// The types behind cudaStream_t and cudaEvent_t.
struct CUstream_st {
  int device = 0;
  uint64_t number = 0;                 // of no other stream, dead or alive
  uint64_t pushed = 0;                 // pieces of work
  cuda_on_cpu::ClockPtr before, host;  // what its next work comes after, and what the host knew
  unsigned flags = 0;
  bool alive = true;
  bool busy = false;  // an OS thread runs its front
  std::deque<cuda_on_cpu::Work> work;
  cuda_on_cpu::FencePtr last;
  cuda_on_cpu::Fiber fiber;  // TSan: the stream as a thread
};
struct CUevent_st {
  int device = 0;
  unsigned flags = 0;
  cuda_on_cpu::FencePtr fence;  // of what it recorded
};

namespace cuda_on_cpu {

class Scheduler {
 public:
  using Lock = std::unique_lock<std::mutex>;

  Scheduler();
  /// A host thread is inside of a call from enter() to leave(). enter() locks.
  Lock enter();
  void leave();
  Lock lock() { return Lock(mutex_); }

  cudaStream_t create_stream(int device, unsigned flags);
  /// The stream a handle means on the current device, or null where it is not alive.
  CUstream_st* stream_of(cudaStream_t handle, int current_device);
  cudaEvent_t create_event(int device, unsigned flags);
  CUevent_st* event_of(cudaEvent_t handle);
  void destroy_event(CUevent_st* event);
  /// The handle is dead; what is queued still runs.
  void retire(CUstream_st& stream);

  /// Queues, and lets run what the mode of streams wants run.
  void push(Lock& lock, CUstream_st& stream, Work work);
  /// Waits without keeping the lock while others could use it.
  void wait(Lock& lock, const FencePtr& fence);
  void wait_for_stream(Lock& lock, CUstream_st& stream) { wait(lock, stream.last); }
  void wait_for_device(Lock& lock, int device);
  /// One step towards the fence; for polls.
  void nudge(Lock& lock, const FencePtr& fence);
  /// See queue.h.
  bool comes_after(const CUstream_st& stream, const Fence& point) const;
  /// Forgets the device's streams, events and failure.
  void reset(int device);

  void fail(int device, cudaError_t code, const std::string& message);
  cudaError_t failure(int device) const {
    return devices_.empty() ? cudaErrorNoDevice : devices_[size_t(device)].failure;
  }
  /// Locks by itself.
  std::string failure_message(int device);

  double now() const;
  int& shared_limit(int device, const void* function);
  uint64_t next_launch(int device) { return devices_[size_t(device)].launches++; }

 private:
  struct Device {
    CUstream_st* default_stream = nullptr;
    std::vector<std::shared_ptr<CUstream_st>> streams;  // alive, or with work left
    cudaError_t failure = cudaSuccess;
    std::string message;
    uint64_t launches = 0;
    std::map<const void*, int> shared_limits;
  };
  bool ready(const CUstream_st& stream) const;
  /// Runs the front of a ready stream; false where it answered "not yet".
  bool step(Lock& lock, CUstream_st& stream);
  bool step_towards(Lock& lock, const FencePtr& fence);
  bool step_any(Lock& lock, int device);
  bool step_anywhere(Lock& lock);
  void progress(Lock& lock, int device);
  void forget_if_drained(CUstream_st& stream);
  void bury(std::shared_ptr<void> handle);
  void add_implicit_waits(const CUstream_st& stream, std::vector<FencePtr>& waits) const;
  void run_in_background();
  uint64_t random();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Device> devices_;
  std::unordered_map<CUevent_st*, std::shared_ptr<CUevent_st>> events_;
  // The addresses of the latest dead are not used again, so that a stale handle is known as such.
  std::deque<std::shared_ptr<void>> dead_;
  std::vector<Fiber> spare_fibers_;
  uint64_t streams_made_ = 0;
  uint64_t random_;
  std::chrono::steady_clock::time_point start_, last_call_;
  int inside_ = 0;  // host threads in a call
  bool ending_ = false;
  std::condition_variable end_;
  std::thread background_;
};

Scheduler& scheduler();

/// Runs an operation as the stream does: under TSan on the stream's own fiber, ordered after the
/// tags in `after`, and before `end`. Deletes it when it is done.
Outcome run_as_stream(CUstream_st& stream, Operation* operation, const std::vector<FencePtr>& after,
                      Fence& end);

/// While it lives, its OS thread runs a host function, which must not call the runtime.
class HostFunction {
 public:
  HostFunction();
  ~HostFunction();
  static bool running();
};

}  // namespace cuda_on_cpu
