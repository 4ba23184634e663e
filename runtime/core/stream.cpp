#include "runtime/core/stream.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

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
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->reached; });
  if (state_->error) std::rethrow_exception(state_->error);
}

bool Event::reached() const {
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
  std::thread server;

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

Stream::Stream() : queue_(std::make_unique<Queue>()) {
  queue_->server = std::thread([queue = queue_.get()] { queue->serve(); });
}

Stream::~Stream() {
  {
    std::lock_guard lock(queue_->mutex);
    queue_->closing = true;
    queue_->changed.notify_one();
  }
  queue_->server.join();
}

void Stream::enqueue(std::function<void()> work) {
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

void Stream::delay_work(std::function<void()> delay) {
  queue_->push([queue = queue_.get(), delay = std::move(delay)] { queue->delay = delay; });
}

Event Stream::record() {
  Event event;
  event.state_ = std::make_shared<Event::State>();
  queue_->push([queue = queue_.get(), state = event.state_] { state->reach(queue->error); });
  return event;
}

void Stream::wait(Event event) {
  enqueue([event = std::move(event)] { event.wait(); });
}

}  // namespace tessera
