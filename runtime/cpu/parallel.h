// The one place where CPU operators become parallel.
#pragma once

#include <cstdint>
#include <exception>
#ifdef TESSERA_NO_OPENMP
#include <atomic>
#include <thread>
#include <vector>
#endif

namespace tessera::cpu {

/// Calls task(i) for i in [0, count), each once, on up to `threads` threads, in no promised order.
/// A task owns its outputs: sums are never split over tasks, so results do not depend on `threads`.
/// `task` must not throw.
template <class Task>
void parallel_for(int threads, int64_t count, Task&& task) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
#ifdef TESSERA_NO_OPENMP
  std::atomic<int64_t> next{0};
  const auto serve = [&] {
    for (int64_t i; (i = next.fetch_add(1)) < count;) task(i);
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < threads; ++t) helpers.emplace_back(serve);
  serve();
  for (std::thread& helper : helpers) helper.join();
#else
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < count; ++i) task(i);
#endif
}

/// Calls task(begin, end) over consecutive ranges of [0, count), where one item costs `cost`
/// elements of work. A range is large enough to be worth a thread, and its bounds depend on nothing
/// but count and cost; where cost is 1 they are multiples of 16.
template <class Task>
void parallel_ranges(int threads, int64_t count, int64_t cost, Task&& task) {
  constexpr int64_t kElements = 32768;
  const int64_t range = cost >= kElements ? 1 : kElements / (cost > 0 ? cost : 1);
  parallel_for(threads, (count + range - 1) / range, [&](int64_t i) {
    task(i * range, (i + 1) * range < count ? (i + 1) * range : count);
  });
}

}  // namespace tessera::cpu
