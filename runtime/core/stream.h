// An in-order queue of work. On the CPU a thread serves it, so overlap, and a missing wait, are as
// real as on a GPU. An Event marks a point in a stream that another stream or the host waits for.
#pragma once

#include <functional>
#include <memory>

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
  std::shared_ptr<State> state_;
};

class Stream {
 public:
  Stream();
  ~Stream();  // finishes all queued work
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void enqueue(std::function<void()> work);
  /// An event reached when everything enqueued before it is done.
  Event record();
  /// Work enqueued after this call runs only when `event` is reached.
  void wait(Event event);
  void synchronize() { record().wait(); }

  /// For tests: from now on `delay` runs before each piece of work, on the serving thread, so that
  /// a missing wait shows.
  void delay_work(std::function<void()> delay);

 private:
  struct Queue;
  std::unique_ptr<Queue> queue_;
};

}  // namespace tessera
