#include "scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "memory.h"

namespace cuda_on_cpu {
namespace {

using std::chrono::steady_clock;

// The host is taken to be silent after this: it waits for something the device should have done.
constexpr auto kSilence = std::chrono::milliseconds(300);
constexpr auto kPoll = std::chrono::milliseconds(1);

// What the calling thread has waited for.
thread_local ClockPtr host_clock;

bool covers(const ClockPtr& clock, const Fence& point) {
  if (clock == nullptr) return false;
  const auto found = clock->find(point.stream_number);
  return found != clock->end() && found->second >= point.work_number;
}

ClockPtr joined(const ClockPtr& a, const ClockPtr& b) {
  if (a == nullptr || b == nullptr || a == b) return a == nullptr ? b : a;
  auto both = std::make_shared<Clock>(*a);
  for (const auto& [stream, works] : *b) {
    uint64_t& known = (*both)[stream];
    known = std::max(known, works);
  }
  return both;
}

// `clock`, and that the point is reached.
ClockPtr reached(const ClockPtr& clock, const Fence& point) {
  if (covers(clock, point)) return clock;
  auto after = std::make_shared<Clock>(Clock{{point.stream_number, point.work_number}});
  return joined(joined(clock, point.before), after);
}

}  // namespace

Scheduler& scheduler() {
  static Scheduler& scheduler = *new Scheduler;
  return scheduler;
}

Scheduler::Scheduler()
    : devices_(size_t(settings().devices)),
      random_(settings().streams_seed * 0x9E3779B97F4A7C15u + 1),
      start_(steady_clock::now()) {
  for (int d = 0; d < int(devices_.size()); ++d) {
    devices_[size_t(d)].default_stream = create_stream(d, cudaStreamDefault);
  }
  background_ = std::thread([this] { run_in_background(); });
  std::atexit([] {
    Scheduler& s = scheduler();
    {
      const Lock lock(s.mutex_);
      s.ending_ = true;
    }
    s.end_.notify_all();
    s.background_.join();
  });
}

Scheduler::Lock Scheduler::enter() {
  Lock lock(mutex_);
  ++inside_;
  return lock;
}

void Scheduler::leave() {
  --inside_;
  last_call_ = steady_clock::now();
}

double Scheduler::now() const {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - start_).count();
}

uint64_t Scheduler::random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  return random_ ^= random_ << 17;
}

cudaStream_t Scheduler::create_stream(int device, unsigned flags) {
  auto stream = std::make_shared<CUstream_st>();
  stream->device = device;
  stream->number = ++streams_made_;
  stream->flags = flags;
  if (!spare_fibers_.empty()) {
    stream->fiber = spare_fibers_.back();
    spare_fibers_.pop_back();
  }
  devices_[size_t(device)].streams.push_back(stream);
  return stream.get();
}

CUstream_st* Scheduler::stream_of(cudaStream_t handle, int current_device) {
  if (handle == nullptr || handle == cudaStreamLegacy) {
    return devices_[size_t(current_device)].default_stream;
  }
  for (const Device& device : devices_) {
    for (const auto& stream : device.streams) {
      if (stream.get() == handle) return stream->alive ? handle : nullptr;
    }
  }
  return nullptr;
}

void Scheduler::retire(CUstream_st& stream) {
  stream.alive = false;
  forget_if_drained(stream);
}

void Scheduler::forget_if_drained(CUstream_st& stream) {
  if (stream.alive || stream.busy || !stream.work.empty()) return;
  if (stream.fiber.stack != nullptr) spare_fibers_.push_back(std::exchange(stream.fiber, {}));
  auto& streams = devices_[size_t(stream.device)].streams;
  const auto found = std::find_if(streams.begin(), streams.end(),
                                  [&](const auto& s) { return s.get() == &stream; });
  bury(std::move(*found));
  streams.erase(found);
}

void Scheduler::bury(std::shared_ptr<void> handle) {
  constexpr size_t kRemembered = 1000;
  dead_.push_back(std::move(handle));
  if (dead_.size() > kRemembered) dead_.pop_front();
}

cudaEvent_t Scheduler::create_event(int device, unsigned flags) {
  auto event = std::make_shared<CUevent_st>();
  event->device = device;
  event->flags = flags;
  CUevent_st* const handle = event.get();
  events_[handle] = std::move(event);
  return handle;
}

CUevent_st* Scheduler::event_of(cudaEvent_t handle) {
  return events_.contains(handle) ? handle : nullptr;
}

void Scheduler::destroy_event(CUevent_st* event) {
  event->fence = nullptr;
  bury(std::move(events_.extract(event).mapped()));
}

// The legacy default stream and the streams that block on it wait for each other.
void Scheduler::add_implicit_waits(const CUstream_st& stream, std::vector<FencePtr>& waits) const {
  if ((stream.flags & cudaStreamNonBlocking) != 0) return;
  const Device& device = devices_[size_t(stream.device)];
  const auto add = [&](const CUstream_st& other) {
    if (&other != &stream && other.last != nullptr) waits.push_back(other.last);
  };
  if (&stream != device.default_stream) return add(*device.default_stream);
  for (const auto& other : device.streams) {
    if ((other->flags & cudaStreamNonBlocking) == 0) add(*other);
  }
}

void Scheduler::push(Lock& lock, CUstream_st& stream, Work work) {
  add_implicit_waits(stream, work.waits);
  if (work.operation == nullptr) {
    work.operation = std::make_unique<Operation>([] { return Outcome::kDone; });
  }
  tsan_release(work.operation.get());
  if (stream.host != host_clock) {
    stream.host = host_clock;
    stream.before = joined(stream.before, host_clock);
  }
  for (const FencePtr& fence : work.waits) stream.before = reached(stream.before, *fence);
  work.fence = std::make_shared<Fence>();
  work.fence->stream = &stream;
  work.fence->stream_number = stream.number;
  work.fence->work_number = ++stream.pushed;
  work.fence->before = stream.before;
  stream.last = work.fence;
  stream.work.push_back(std::move(work));
  progress(lock, stream.device);
}

void Scheduler::progress(Lock& lock, int device) {
  switch (settings().streams) {
    case Streams::kEager:
      while (step_any(lock, device)) {
      }
      break;
    case Streams::kRandom:
      for (uint64_t steps = random() % 4; steps > 0; --steps) step_any(lock, device);
      break;
    case Streams::kLate:
      break;
  }
}

bool Scheduler::ready(const CUstream_st& stream) const {
  return !stream.busy && !stream.work.empty() &&
         std::all_of(stream.work.front().waits.begin(), stream.work.front().waits.end(),
                     [](const FencePtr& fence) { return fence->done; });
}

bool Scheduler::step(Lock& lock, CUstream_st& stream) {
  stream.busy = true;
  Work& work = stream.work.front();  // stays where it is: only its back grows meanwhile
  Outcome outcome = Outcome::kDone;
  Operation* const operation = work.operation.release();
  const std::function<void()> before = std::exchange(work.before, {});
  if (before) before();
  if (devices_[size_t(stream.device)].failure == cudaSuccess) {
    const int opens = work.opens;
    const std::vector<FencePtr> after = work.waits;
    const FencePtr end = work.fence;
    lock.unlock();
    memory().open(opens);
    outcome = run_as_stream(stream, operation, after, *end);
    memory().close(opens);
    lock.lock();
  } else {
    delete operation;  // what is left on a broken device is dropped
  }
  stream.busy = false;
  Work& same = stream.work.front();
  if (outcome == Outcome::kNotYet) {
    same.operation.reset(operation);
    return false;
  }
  same.fence->done = true;
  same.fence->milliseconds = now();
  stream.work.pop_front();
  forget_if_drained(stream);
  changed_.notify_all();
  return true;
}

bool Scheduler::step_towards(Lock& lock, const FencePtr& fence) {
  CUstream_st& stream = *fence->stream;
  if (stream.busy || stream.work.empty()) return false;
  if (ready(stream)) return step(lock, stream);
  const std::vector<FencePtr> waits = stream.work.front().waits;
  for (const FencePtr& wait : waits) {
    if (!wait->done && step_towards(lock, wait)) return true;
  }
  return false;
}

bool Scheduler::step_any(Lock& lock, int device) {
  std::vector<std::shared_ptr<CUstream_st>> candidates = devices_[size_t(device)].streams;
  std::erase_if(candidates, [&](const auto& stream) { return !ready(*stream); });
  while (!candidates.empty()) {
    const bool any = settings().streams == Streams::kRandom;
    const size_t chosen = any ? random() % candidates.size() : 0;
    const std::shared_ptr<CUstream_st> stream = candidates[chosen];
    candidates.erase(candidates.begin() + std::ptrdiff_t(chosen));
    if (ready(*stream) && step(lock, *stream)) return true;
  }
  return false;
}

bool Scheduler::step_anywhere(Lock& lock) {
  for (int d = 0; d < int(devices_.size()); ++d) {
    if (step_any(lock, d)) return true;
  }
  return false;
}

void Scheduler::wait(Lock& lock, const FencePtr& awaited) {
  const FencePtr fence = awaited;
  if (fence == nullptr) return;
  while (!fence->done) {
    const bool random_mode = settings().streams == Streams::kRandom;
    if (random_mode && random() % 2 == 0 && step_any(lock, fence->stream->device)) continue;
    if (step_towards(lock, fence)) continue;
    // What the fence needs may need any other stream, of any device.
    if (step_anywhere(lock)) continue;
    changed_.wait_for(lock, kPoll);
  }
  host_clock = reached(host_clock, *fence);
  tsan_acquire(fence.get());
}

bool Scheduler::comes_after(const CUstream_st& stream, const Fence& point) const {
  if (stream.number == point.stream_number) return true;
  if (covers(stream.before, point) || covers(host_clock, point)) return true;
  std::vector<FencePtr> implicit;
  add_implicit_waits(stream, implicit);
  return std::any_of(implicit.begin(), implicit.end(), [&](const FencePtr& fence) {
    return covers(reached(nullptr, *fence), point);
  });
}

void Scheduler::wait_for_device(Lock& lock, int device) {
  const std::vector<std::shared_ptr<CUstream_st>> streams = devices_[size_t(device)].streams;
  for (const auto& stream : streams) wait(lock, stream->last);
}

void Scheduler::nudge(Lock& lock, const FencePtr& fence) {
  if (!fence->done) step_towards(lock, fence);
  if (!fence->done) return;
  host_clock = reached(host_clock, *fence);
  tsan_acquire(fence.get());
}

void Scheduler::reset(int device) {
  Device& d = devices_[size_t(device)];
  const std::vector<std::shared_ptr<CUstream_st>> streams = d.streams;
  for (const auto& stream : streams) {
    if (stream->alive && stream.get() != d.default_stream) retire(*stream);
  }
  std::vector<CUevent_st*> events;
  for (const auto& [event, owner] : events_) {
    if (event->device == device) events.push_back(event);
  }
  for (CUevent_st* event : events) destroy_event(event);
  d.failure = cudaSuccess;
  d.message.clear();
  d.shared_limits.clear();
}

void Scheduler::fail(int device, cudaError_t code, const std::string& message) {
  Device& d = devices_[size_t(device)];
  if (d.failure != cudaSuccess) return;
  d.failure = code;
  d.message = message;
  std::fprintf(stderr, "cuda_on_cpu: device %d: %s\n", device, message.c_str());
}

std::string Scheduler::failure_message(int device) {
  const Lock lock(mutex_);
  return devices_[size_t(device)].message;
}

int& Scheduler::shared_limit(int device, const void* function) {
  constexpr int kDefault = 48 * 1024;
  return devices_[size_t(device)].shared_limits.try_emplace(function, kDefault).first->second;
}

void Scheduler::run_in_background() {
  Lock lock(mutex_);
  while (!ending_) {
    end_.wait_for(lock, std::chrono::milliseconds(20));
    while (!ending_ && inside_ == 0 && steady_clock::now() - last_call_ > kSilence &&
           step_anywhere(lock)) {
    }
  }
}

}  // namespace cuda_on_cpu
