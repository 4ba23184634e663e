#include "block.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "executor.h"

namespace cuda_on_cpu {
namespace {

constexpr size_t kStackBytes = 128 * 1024;
#if defined(CUDA_ON_CPU_TSAN)
constexpr bool kTsan = true;
#else
constexpr bool kTsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuardBytes = 0;  // AddressSanitizer has its own
#else
constexpr size_t kGuardBytes = 64;
#endif
constexpr unsigned char kGuard = 0xA5;

thread_local Executor* executor = nullptr;

/// Executors are kept: their stacks, and under TSan their threads, are expensive to make. No mutex
/// and no growing: TSan would see the streams that share them ordered, or racing.
class Pool {
 public:
  Pool() { idle_.reserve(kMost); }
  std::unique_ptr<Executor> take() {
    const Held held(busy_);
    if (idle_.empty()) return std::make_unique<Executor>();
    std::unique_ptr<Executor> taken = std::move(idle_.back());
    idle_.pop_back();
    return taken;
  }
  void give(std::unique_ptr<Executor> taken) {
    const Held held(busy_);
    if (idle_.size() < kMost) idle_.push_back(std::move(taken));
  }

 private:
  static constexpr size_t kMost = 256;
  class Held {
   public:
    explicit Held(std::atomic_flag& flag) : flag_(flag) {
      while (flag_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
    }
    ~Held() { flag_.clear(std::memory_order_release); }

   private:
    std::atomic_flag& flag_;
  };
  std::atomic_flag busy_;
  std::vector<std::unique_ptr<Executor>> idle_;
};

Pool& pool() {
  static Pool& pool = *new Pool;  // never destroyed: threads may run until the process ends
  return pool;
}

}  // namespace

Executor& running() { return *executor; }

KernelFailure run_kernel(const Kernel& kernel, Order order, uint64_t seed) {
  static thread_local const bool known = [] {
    tsan_ignore(&threadIdx, sizeof threadIdx);
    tsan_ignore(&blockIdx, sizeof blockIdx);
    tsan_ignore(&blockDim, sizeof blockDim);
    tsan_ignore(&gridDim, sizeof gridDim);
    return true;
  }();
  (void)known;
  std::unique_ptr<Executor> taken = pool().take();
  Executor* const outer = std::exchange(executor, taken.get());
  KernelFailure failure = taken->run(kernel, order, seed);
  executor = outer;
  pool().give(std::move(taken));
  return failure;
}

Executor::Executor() : copies_(new PendingCopies[kMaxThreads]) {
  for (unsigned t = 0; t < kMaxThreads; ++t) copies_[t].block = 0;
  fibers_.reserve(kMaxThreads);
  idle_.reserve(kMaxThreads);
}

KernelFailure Executor::run(const Kernel& kernel, Order order, uint64_t seed) {
  if (owner_ != std::this_thread::get_id()) {
    restart_all();
    owner_ = std::this_thread::get_id();
  }
  kernel_ = &kernel;
  order_ = order;
  random_ = seed;
  failure_ = {};
  threads_ = kernel.block.x * kernel.block.y * kernel.block.z;
  blockDim = kernel.block;
  gridDim = kernel.grid;
  for (unsigned t = 0; t < threads_; ++t) {
    index_[t] = {t % kernel.block.x, t / kernel.block.x % kernel.block.y,
                 t / (kernel.block.x * kernel.block.y)};
  }
  adopt_running(main_);

  const uint64_t blocks = uint64_t(kernel.grid.x) * kernel.grid.y * kernel.grid.z;
  uint64_t stride = 1, offset = 0;
  if (order == Order::kRandom) {
    do stride = random() % blocks + 1;
    while (std::gcd(stride, blocks) != 1);
    offset = random() % blocks;
  }
  for (uint64_t i = 0; i < blocks && failure_.code == cudaSuccess; ++i) {
    run_block(order == Order::kAscending    ? i
              : order == Order::kDescending ? blocks - 1 - i
                                            : (i * stride + offset) % blocks);
  }
  if (failure_.code != cudaSuccess) {
    for (const std::unique_ptr<Fiber>& fiber : fibers_) tsan_release_for(*fiber, &end_tag_);
    restart_all();
  }
  tsan_acquire(&end_tag_);
  free_shared();
  return failure_;
}

void Executor::run_block(uint64_t number) {
  const dim3& grid = kernel_->grid;
  blockIdx = {unsigned(number % grid.x), unsigned(number / grid.x % grid.y),
              unsigned(number / (uint64_t(grid.x) * grid.y))};
  prepare_shared();
  ++blocks_started_;
  live_ = threads_;
  arrived_ = runnable_warps_ = 0;
  counts_[0] = counts_[1] = 0;
  greedy_ = order_ == Order::kRandom && random() % 2 == 0;
  greedy_rotation_ = random() % kLanes;
  for (unsigned t = 0; t < threads_; ++t) fiber_[t] = nullptr;
  for (unsigned w = 0; w * kLanes < threads_; ++w) {
    const unsigned lanes = threads_ - w * kLanes;
    warps_[w].live = warps_[w].runnable = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
    for (Meeting& meeting : warps_[w].meetings) meeting.mask = meeting.arrived = 0;
    runnable_warps_ |= 1u << w;
  }
  // Blocks are ordered after the grid's start, not after each other.
  tsan_release(&start_tag_);
  const unsigned first = pick();
  Fiber& fiber = fiber_of(first);
  become(first);
  switch_fiber(main_, fiber);
  if (failure_.code == cudaSuccess) check_guard();
}

void Executor::enter() {
  fiber_entered();
  running().run_threads();
}

// The life of a fiber: it runs one thread after another. Threads that never wait share one stack.
void Executor::run_threads() {
  for (;;) {
    tsan_acquire(&start_tag_);
    kernel_->body();
    thread_returned();
    Fiber& mine = *fiber_[current_];
    const unsigned next = pick();
    if (next == kNobody) {
      if (live_ != 0) {
        fail(cudaErrorLaunchFailure, "threads wait for one that has returned", waits_at_[0]);
      }
      if (!kTsan) idle_.push_back(&mine);
      switch_fiber(mine, main_);
    } else if (fiber_[next] == nullptr && !kTsan) {
      fiber_[next] = &mine;
      become(next);
    } else {
      Fiber& other = fiber_of(next);
      if (!kTsan) idle_.push_back(&mine);
      become(next);
      switch_fiber(mine, other);
    }
  }
}

void Executor::thread_returned() {
  tsan_release(&end_tag_);
  --live_;
  warps_[current_ / kLanes].live &= ~(1u << current_ % kLanes);
  if (live_ != 0 && arrived_ == live_) release_barrier();
}

Fiber& Executor::create() {
  fibers_.push_back(std::make_unique<Fiber>());
  create_fiber(*fibers_.back(), kStackBytes);
  start_fiber(*fibers_.back(), &Executor::enter);
  return *fibers_.back();
}

Fiber& Executor::fiber_of(unsigned thread) {
  Fiber*& fiber = fiber_[thread];
  if (fiber != nullptr) return *fiber;
  if (kTsan) {
    if (own_[thread] == nullptr) own_[thread] = &create();
    fiber = own_[thread];
  } else if (idle_.empty()) {
    fiber = &create();
  } else {
    fiber = idle_.back();
    idle_.pop_back();
  }
  return *fiber;
}

void Executor::restart_all() {
  idle_.clear();
  for (const std::unique_ptr<Fiber>& fiber : fibers_) {
    start_fiber(*fiber, &Executor::enter);
    if (!kTsan) idle_.push_back(fiber.get());
  }
}

void Executor::become(unsigned thread) {
  current_ = thread;
  threadIdx = index_[thread];
}

unsigned Executor::pick() {
  if (runnable_warps_ == 0) return kNobody;
  const auto lowest = [](unsigned bits) { return unsigned(std::countr_zero(bits)); };
  const auto highest = [](unsigned bits) { return kLanes - 1 - unsigned(std::countl_zero(bits)); };
  const auto any = [&](unsigned bits, unsigned rotation) {
    return (lowest(std::rotr(bits, int(rotation))) + rotation) % kLanes;
  };
  unsigned w = 0, lane = 0;
  switch (order_) {
    case Order::kAscending:
      w = lowest(runnable_warps_);
      lane = lowest(warps_[w].runnable);
      break;
    case Order::kDescending:
      w = highest(runnable_warps_);
      lane = highest(warps_[w].runnable);
      break;
    case Order::kRandom: {
      const unsigned bits = random();
      w = any(runnable_warps_, greedy_ ? greedy_rotation_ : bits % kLanes);
      lane = any(warps_[w].runnable, bits / kLanes % kLanes);
      break;
    }
  }
  warps_[w].runnable &= ~(1u << lane);
  if (warps_[w].runnable == 0) runnable_warps_ &= ~(1u << w);
  return w * kLanes + lane;
}

void Executor::wait_here(Where where) {
  const unsigned me = current_;
  waits_at_[me] = where;
  const unsigned next = pick();
  if (next == kNobody) {
    fail(cudaErrorLaunchFailure, "deadlock: every thread waits at a barrier or for its warp",
         where);
  }
  if (next == me) return;
  Fiber& mine = *fiber_[me];
  Fiber& other = fiber_of(next);
  become(next);
  switch_fiber(mine, other);
}

void Executor::barrier(Where where) {
  void* const tag = &barrier_tags_[phase_];
  tsan_release(tag);
  if (arrived_ == 0) {
    barrier_where_ = where;
  } else if (barrier_where_.line() != where.line() ||
             barrier_where_.file_name() != where.file_name()) {
    fail(cudaErrorLaunchFailure, "divergent __syncthreads: other threads wait", where,
         &barrier_where_);
  }
  if (++arrived_ == live_) release_barrier();
  wait_here(where);
  tsan_acquire(tag);
}

void Executor::release_barrier() {
  arrived_ = 0;
  phase_ ^= 1;
  counts_[phase_] = 0;
  for (unsigned w = 0; w * kLanes < threads_; ++w) {
    if (warps_[w].live == 0) continue;
    warps_[w].runnable = warps_[w].live;
    runnable_warps_ |= 1u << w;
  }
}

unsigned Executor::barrier_count(bool predicate, Where where) {
  const unsigned phase = phase_;
  counts_[phase] += predicate;
  barrier(where);
  return counts_[phase];
}

void Executor::fail(cudaError_t code, const char* what, Where where, const Where* other) {
  const auto triple = [](auto v) {
    return std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z);
  };
  failure_.code = code;
  failure_.message =
      std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " + what;
  if (other != nullptr) failure_.message += " at line " + std::to_string(other->line());
  failure_.message += ", block " + triple(blockIdx) + " thread " + triple(threadIdx) + " of " +
                      where.function_name();
  tsan_release(&end_tag_);
  switch_fiber(*fiber_[current_], main_);
  abort();
}

void Executor::prepare_shared() {
  const size_t bytes = kernel_->shared_bytes;
  if (bytes == 0) return;
  if (kTsan && shared_ != nullptr) retired_.push_back(std::exchange(shared_, nullptr));
  if (shared_ == nullptr) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes + kGuardBytes) != 0) throw std::bad_alloc();
    shared_ = static_cast<char*>(memory);
    memset(shared_ + bytes, kGuard, kGuardBytes);
  }
  memset(shared_, 0xFF, bytes);
}

void Executor::check_guard() {
  for (size_t i = 0; shared_ != nullptr && i < kGuardBytes; ++i) {
    if (static_cast<unsigned char>(shared_[kernel_->shared_bytes + i]) == kGuard) continue;
    failure_ = {cudaErrorIllegalAddress,
                "a block wrote " + std::to_string(i) + " bytes past the end of its " +
                    std::to_string(kernel_->shared_bytes) + " bytes of shared memory"};
    return;
  }
}

void Executor::free_shared() {
  for (char* memory : retired_) free(memory);
  std::vector<char*>().swap(retired_);
  free(std::exchange(shared_, nullptr));
}

}  // namespace cuda_on_cpu
