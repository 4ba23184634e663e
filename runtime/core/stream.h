// An in-order queue of work. On the CPU a thread serves it, so overlap, and a missing wait, are as
// real as on a GPU, where it is a CUDA stream. An Event marks a point in a stream that another
// stream or the host waits for.
#pragma once

#include <functional>
#include <memory>

#include "runtime/core/device.h"

namespace tessera {

class Event {
 public:
  Event() = default;
  /// Blocks the calling thread until the point is reached. A default Event is always reached.
  /// Rethrows what the stream's work threw before that point.
  void wait() const;
  bool reached() const;

 private:
  friend class Stream;
  struct State;
  std::shared_ptr<State> state_;  // of a stream that a thread serves
  std::shared_ptr<void> cuda_;    // of a device
};

class Stream {
 public:
  /// Beside the host thread: served by a thread of its own, or by the device.
  explicit Stream(Device device);
  /// Where operators run: on the CPU the calling thread itself, which is done with work when
  /// enqueue() returns.
  static Stream of_operators(Device device);
  ~Stream();  // finishes all queued work
  Stream(Stream&&) = default;
  Stream& operator=(Stream&&) = delete;

  /// On a device `work` runs at once, on the calling thread: it gives the device work by handle().
  void enqueue(std::function<void()> work);
  /// Between any two places of host and device memory.
  void copy(void* to, const void* from, size_t bytes);
  /// An event reached when everything enqueued before it is done.
  Event record();
  /// Work enqueued after this call runs only when `event` is reached.
  void wait(Event event);
  void synchronize() { record().wait(); }

  /// The cudaStream_t; null on the CPU.
  void* handle() const { return cuda_.get(); }

  /// For tests: from now on `delay` runs before each piece of work, on the serving thread, so that
  /// a missing wait shows.
  void delay_work(std::function<void()> delay);

 private:
  struct Queue;
  Stream(std::unique_ptr<Queue> queue, std::shared_ptr<void> cuda);

  std::unique_ptr<Queue> queue_;  // one of the two; neither: the calling thread
  std::shared_ptr<void> cuda_;
};

}  // namespace tessera
