// The one place where CPU operators become parallel.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <type_traits>
#ifdef TESSERA_NO_OPENMP
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif

namespace tessera::cpu {

/// The first exception of the tasks of a region, for the thread that started it: no exception may
/// leave a region by itself. What has not begun by then is skipped.
class FirstError {
 public:
  template <class Work>
  void guard(Work&& work) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      work();
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }
  /// After the region.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

/// Calls task(i), or task(i, thread), for i in [0, count), each once, on up to `threads` threads,
/// numbered from 0, in no promised order. A task owns its outputs: sums are never split over tasks,
/// so results do not depend on `threads`. Where tasks throw, the first exception is rethrown here
/// when all threads are done. Tasks should not allocate: see thread_memory.h.
template <class Task>
void parallel_for(int threads, int64_t count, Task&& task) {
  const auto run = [&task](int64_t i, [[maybe_unused]] int thread) {
    if constexpr (std::is_invocable_v<Task&, int64_t, int>) {
      task(i, thread);
    } else {
      task(i);
    }
  };
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) run(i, 0);
    return;
  }
  FirstError error;
#ifdef TESSERA_NO_OPENMP
  std::atomic<int64_t> next{0};
  const auto serve = [&](int thread) {
    for (int64_t i; (i = next.fetch_add(1)) < count;) error.guard([&] { run(i, thread); });
  };
  {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(serve, t);
    serve(0);
  }
#else
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < count; ++i) error.guard([&] { run(i, omp_get_thread_num()); });
#endif
  error.rethrow();
}

/// Calls task(begin, end) over consecutive ranges of [0, count), where one item costs `cost`
/// elements of work. A range is large enough to be worth a thread, and its bounds depend on nothing
/// but count and cost; where cost is 1 they are multiples of 16. Exceptions as in parallel_for().
template <class Task>
void parallel_ranges(int threads, int64_t count, int64_t cost, Task&& task) {
  constexpr int64_t kElements = 32768;
  const int64_t range = cost >= kElements ? 1 : kElements / (cost > 0 ? cost : 1);
  parallel_for(threads, (count + range - 1) / range, [&](int64_t i) {
    task(i * range, (i + 1) * range < count ? (i + 1) * range : count);
  });
}

}  // namespace tessera::cpu
