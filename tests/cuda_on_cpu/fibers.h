// Machine stacks that one OS thread switches between: each CUDA thread of a running block has one.
// Sanitizers are told of every switch; TSan takes each fiber for a thread of its own, and a switch
// orders nothing. A fiber is continued by the OS thread that started it.
#pragma once

#include <cstddef>

namespace cuda_on_cpu {

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  size_t stack_bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan = nullptr;
};

/// Maps a stack with a guard page below it. Never unmapped: fibers are kept for the next kernel.
void create_fiber(Fiber& fiber, size_t stack_bytes);
/// The next switch to the fiber calls `entry`, which must not return. What the fiber did is
/// abandoned where it stands.
void start_fiber(Fiber& fiber, void (*entry)());
/// `entry` calls this before anything else.
void fiber_entered();
/// Leaves `from`, which must be running, and continues `to`; returns when somebody switches back.
void switch_fiber(Fiber& from, Fiber& to);
/// Makes an empty Fiber stand for what the OS thread runs now.
void adopt_running(Fiber& fiber);

/// TSan's happens-before, by address; nothing in other builds.
void tsan_release(void* tag);
void tsan_acquire(void* tag);
/// A release by a fiber that does not run.
void tsan_release_for(const Fiber& fiber, void* tag);
/// An access on behalf of the running fiber by code that TSan does not see.
void tsan_read(const void* p, size_t bytes);
void tsan_write(void* p, size_t bytes);
/// Races on these bytes are none.
void tsan_ignore(void* p, size_t bytes);

}  // namespace cuda_on_cpu
