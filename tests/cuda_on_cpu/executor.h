// The state of one kernel that runs on one OS thread, for block.cpp and warp.cpp. Nothing here is
// seen by TSan: the threads of a block share it without being ordered by it.
#pragma once

#include <array>
#include <bit>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "block.h"
#include "cuda_on_cpu/thread.h"
#include "fibers.h"

namespace cuda_on_cpu {

constexpr unsigned kLanes = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kNobody = ~0u;

struct alignas(16) Slot {
  uint64_t words[6];
};

/// A meeting of the lanes of one mask. What they bring stays readable until all of them have come
/// to the next meeting but one.
struct Meeting {
  unsigned mask = 0;
  unsigned arrived = 0;
  unsigned parity = 0;
  Where where;
  Slot slots[2][kLanes];
};

struct Warp {
  unsigned live = 0;      // lanes that have not returned
  unsigned runnable = 0;  // lanes that could go on
  Meeting meetings[4];    // one for each mask in use at the same time
};

/// cp.async of one thread; what an earlier block left over is void.
struct PendingCopies {
  struct Copy {
    void* to;
    const void* from;
    uint64_t group;
    uint32_t bytes;
    bool valid;
  };
  static constexpr int kMost = 128;
  uint64_t block;
  uint64_t group;
  int count;
  Copy copies[kMost];
};

class Executor {
 public:
  Executor();
  KernelFailure run(const Kernel& kernel, Order order, uint64_t seed);

  /// `other`: a second place that the message names. What is on the thread's stack is never
  /// destroyed.
  [[noreturn]] void fail(cudaError_t code, const char* what, Where where,
                         const Where* other = nullptr);
  void barrier(Where where);
  unsigned barrier_count(bool predicate, Where where);
  /// Brings up to a Slot to the lanes of `mask`. The last to come calls `complete` on what all
  /// brought. Returns the slots when all have come.
  using Complete = void (*)(Slot* slots, Executor& executor, Where where);
  Slot* meet(unsigned mask, const void* value, size_t bytes, Complete complete, Where where);
  /// Two addresses that alternate, for TSan.
  void* meeting_tag(unsigned mask, Where where);
  PendingCopies& pending_copies();

  unsigned current() const { return current_; }
  char* shared() const { return shared_; }
  size_t shared_bytes() const { return kernel_->shared_bytes; }
  /// Fails with `what` where any of the bytes is outside of the block's shared memory.
  void check_shared(const void* p, size_t bytes, const char* what, Where where);

 private:
  static void enter();
  void run_threads();
  void run_block(uint64_t number);
  void start_block();
  Fiber& fiber_of(unsigned thread);
  Fiber& create();
  void become(unsigned thread);
  unsigned pick();
  void wait_here(Where where);
  void release_barrier();
  void thread_returned();
  void restart_all();
  void prepare_shared();
  void check_guard();
  void free_shared();
  unsigned random() {
    return unsigned((random_ = random_ * 6364136223846793005u + 1442695040888963407u) >> 33);
  }
  Meeting& meeting_of(unsigned mask, Where where);

  const Kernel* kernel_ = nullptr;
  Order order_ = Order::kAscending;
  uint64_t random_ = 1;
  bool greedy_ = false;  // random order: one warp goes as far as it can
  unsigned greedy_rotation_ = 0;

  unsigned threads_ = 0;
  unsigned live_ = 0;
  unsigned current_ = 0;
  unsigned arrived_ = 0;
  unsigned phase_ = 0;
  unsigned counts_[2] = {};
  unsigned runnable_warps_ = 0;
  uint64_t blocks_started_ = 0;
  Where barrier_where_;
  Where waits_at_[kMaxThreads];
  uint3 index_[kMaxThreads];
  Fiber* fiber_[kMaxThreads] = {};
  Warp warps_[kMaxThreads / kLanes];
  KernelFailure failure_;

  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber* own_[kMaxThreads] = {};  // TSan: threads never share a stack
  std::thread::id owner_;

  char* shared_ = nullptr;
  std::vector<char*> retired_;  // TSan: earlier blocks' shared memory
  std::unique_ptr<PendingCopies[]> copies_;

  char start_tag_ = 0;
  char end_tag_ = 0;
  char barrier_tags_[2] = {};
};

/// The one that the calling OS thread runs.
Executor& running();

}  // namespace cuda_on_cpu
