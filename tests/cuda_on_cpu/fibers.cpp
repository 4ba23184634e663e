#include "fibers.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(CUDA_ON_CPU_TSAN)  // this file itself is built without -fsanitize=thread
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long bytes);
void __tsan_write_range(void* address, unsigned long bytes);
void AnnotateBenignRaceSized(const char* file, int line, void* p, long bytes, const char* why);
}
#endif

#if !defined(__x86_64__)
#error "cuda_on_cpu_switch is written for x86-64 alone"
#endif
// Saves what a called function must keep on the stack, and swaps the stacks. A new stack is built
// to look as if it had been saved here.
asm(R"(
.text
.type cuda_on_cpu_switch,@function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
extern "C" void cuda_on_cpu_switch(void** save, void* load) asm("cuda_on_cpu_switch");

namespace cuda_on_cpu {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSavedRegisters = 6;

// Whom this OS thread left in its latest switch; under ASan its stack's bounds are learned then.
thread_local Fiber* left = nullptr;

#if defined(CUDA_ON_CPU_TSAN)
constexpr unsigned kNoSync = 1;

// Creating a fiber orders it after its creator. It is created by one that never did anything, so
// that it starts without a past.
void* create_without_past() {
  static std::atomic_flag busy;
  static void* const origin = __tsan_create_fiber(0);
  while (busy.test_and_set(std::memory_order_acquire)) {
  }
  void* const self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(origin, kNoSync);
  void* const fiber = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(self, kNoSync);
  busy.clear(std::memory_order_release);
  return fiber;
}
#endif

// Every place where a fiber goes on after a switch.
void landed([[maybe_unused]] void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
  if (left->stack != nullptr) return;
  left->stack = static_cast<char*>(const_cast<void*>(bottom));
  left->stack_bytes = bytes;
#endif
}

}  // namespace

void create_fiber(Fiber& fiber, size_t stack_bytes) {
  void* const mapped = mmap(nullptr, stack_bytes + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED || mprotect(mapped, kPage, PROT_NONE) != 0) abort();
  fiber.stack = static_cast<char*>(mapped) + kPage;
  fiber.stack_bytes = stack_bytes;
#if defined(CUDA_ON_CPU_TSAN)
  fiber.tsan = create_without_past();
#endif
}

void start_fiber(Fiber& fiber, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
  fiber.asan_fake_stack = nullptr;
#endif
  // Stacks at one offset from a page would fight for the same lines of the first-level cache.
  const size_t colour = reinterpret_cast<uintptr_t>(&fiber) / sizeof(Fiber) % 32 * 192;
  void** top = reinterpret_cast<void**>(fiber.stack + fiber.stack_bytes - colour);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  top -= kSavedRegisters;
  fiber.stack_pointer = top;
}

void fiber_entered() { landed(nullptr); }

void switch_fiber(Fiber& from, Fiber& to) {
  left = &from;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.asan_fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(CUDA_ON_CPU_TSAN)
  __tsan_switch_to_fiber(to.tsan, kNoSync);
#endif
  cuda_on_cpu_switch(&from.stack_pointer, to.stack_pointer);
  landed(from.asan_fake_stack);
}

void adopt_running(Fiber& fiber) {
  fiber = {};
#if defined(CUDA_ON_CPU_TSAN)
  fiber.tsan = __tsan_get_current_fiber();
#endif
}

#if defined(CUDA_ON_CPU_TSAN)
void tsan_release(void* tag) { __tsan_release(tag); }
void tsan_release_for(const Fiber& fiber, void* tag) {
  void* const self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber.tsan, kNoSync);
  __tsan_release(tag);
  __tsan_switch_to_fiber(self, kNoSync);
}
void tsan_acquire(void* tag) { __tsan_acquire(tag); }
void tsan_read(const void* p, size_t bytes) { __tsan_read_range(const_cast<void*>(p), bytes); }
void tsan_write(void* p, size_t bytes) { __tsan_write_range(p, bytes); }
void tsan_ignore(void* p, size_t bytes) {
  AnnotateBenignRaceSized(__FILE__, __LINE__, p, long(bytes), "indices of the running thread");
}
#else
void tsan_release(void*) {}
void tsan_release_for(const Fiber&, void*) {}
void tsan_acquire(void*) {}
void tsan_read(const void*, size_t) {}
void tsan_write(void*, size_t) {}
void tsan_ignore(void*, size_t) {}
#endif

}  // namespace cuda_on_cpu
