#include "runtime/core/stream.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera {

struct Event::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool reached = false;
  std::exception_ptr error;

  void reach(std::exception_ptr e) {
    std::lock_guard lock(mutex);
    reached = true;
    error = e;
    changed.notify_all();
  }
};

void Event::wait() const {
  if constexpr (kHasCuda) {
    if (cuda_) return cuda::wait(cuda_.get());
  }
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->reached; });
  if (state_->error) std::rethrow_exception(state_->error);
}

bool Event::reached() const {
  if constexpr (kHasCuda) {
    if (cuda_) return cuda::reached(cuda_.get());
  }
  if (!state_) return true;
  std::lock_guard lock(state_->mutex);
  return state_->reached;
}

struct Stream::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> work;
  bool closing = false;
  std::exception_ptr error;  // this and the next are the serving thread's alone
  std::function<void()> delay;
  std::thread server{[this] { serve(); }};  // last: it uses what is above

  ~Queue() {
    {
      std::lock_guard lock(mutex);
      closing = true;
      changed.notify_one();
    }
    server.join();
  }
  void push(std::function<void()> item) {
    std::lock_guard lock(mutex);
    work.push_back(std::move(item));
    changed.notify_one();
  }
  void serve() {
    for (;;) {
      std::function<void()> item;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return closing || !work.empty(); });
        if (work.empty()) return;
        item = std::move(work.front());
        work.pop_front();
      }
      item();
    }
  }
};

Stream::Stream(std::unique_ptr<Queue> queue, std::shared_ptr<void> cuda)
    : queue_(std::move(queue)), cuda_(std::move(cuda)) {}

Stream::Stream(Device device) : Stream(of_operators(device)) {
  if (!device.is_cuda()) queue_ = std::make_unique<Queue>();
}

Stream Stream::of_operators(Device device) {
  std::shared_ptr<void> cuda;
  if constexpr (kHasCuda) {
    if (device.is_cuda()) cuda = cuda::make_stream(device);
  }
  return Stream(nullptr, std::move(cuda));
}

Stream::~Stream() = default;

void Stream::enqueue(std::function<void()> work) {
  if (!queue_) return work();
  // After a failure the rest of the queue is skipped; every later event carries the first error.
  queue_->push([queue = queue_.get(), work = std::move(work)] {
    if (queue->error) return;
    try {
      if (queue->delay) queue->delay();
      work();
    } catch (...) {
      queue->error = std::current_exception();
    }
  });
}

void Stream::copy(void* to, const void* from, size_t bytes) {
  if constexpr (kHasCuda) {
    if (cuda_) return cuda::copy(cuda_.get(), to, from, bytes);
  }
  enqueue([=] { std::memcpy(to, from, bytes); });
}

void Stream::delay_work(std::function<void()> delay) {
  TESSERA_CHECK(queue_);
  queue_->push([queue = queue_.get(), delay = std::move(delay)] { queue->delay = delay; });
}

Event Stream::record() {
  Event event;
  if constexpr (kHasCuda) {
    if (cuda_) event.cuda_ = cuda::record(cuda_.get());
  }
  if (!queue_) return event;
  event.state_ = std::make_shared<Event::State>();
  queue_->push([queue = queue_.get(), state = event.state_] { state->reach(queue->error); });
  return event;
}

void Stream::wait(Event event) {
  if constexpr (kHasCuda) {
    if (cuda_ && event.cuda_) return cuda::wait(cuda_.get(), event.cuda_.get());
  }
  enqueue([event = std::move(event)] { event.wait(); });
}

}  // namespace tessera
