// Device and pinned memory: one heap block for each allocation, filled with 0xFF when new and when
// freed. The registry knows every live allocation by its addresses. Safe to call from any thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace cuda_on_cpu {

struct Allocation {
  enum class Kind { kDevice, kPinned, kRegistered };
  char* start = nullptr;
  size_t bytes = 0;
  Kind kind = Kind::kDevice;
  int device = 0;  // where it lives, or who pinned it

  bool on_device() const { return kind == Kind::kDevice; }
  bool holds(const void* p, size_t n) const {
    const char* const at = static_cast<const char*>(p);
    return at >= start && n <= bytes && at - start <= std::ptrdiff_t(bytes - n);
  }
};

class Memory {
 public:
  Memory();

  /// Null where the device has not that much left.
  void* allocate(int device, size_t bytes);
  void* allocate_pinned(int device, size_t bytes);
  void register_host(int device, void* p, size_t bytes);
  /// False where `p` is not the start of a live allocation of that kind. A write past its end is
  /// said by the next take_damage().
  bool release(void* p, Allocation::Kind kind);
  /// The two halves of it: forgets the allocation, and gives its memory back.
  bool detach(void* p, Allocation::Kind kind);
  void dispose(const Allocation& allocation);
  void release_device(int device);

  /// The live allocation that `p` points into, or whose end it is.
  std::optional<Allocation> find(const void* p);
  size_t used(int device);
  size_t peak(int device);

  /// Looks at what surrounds every live allocation of the device and at what was freed; returns
  /// what was written there, once.
  std::string take_damage(int device);

  /// Where protection is on, the host may touch device memory only between these. -1: every
  /// device's.
  void open(int device);
  void close(int device);

 private:
  struct Freed {
    char* base;
    char* start;
    size_t bytes;
    int device;
  };
  struct PerDevice {
    size_t used = 0;
    size_t peak = 0;
    int open = 0;
    char* arena = nullptr;  // protection: addresses are never used again
    size_t arena_used = 0;
    std::string damage;
  };
  char* take(int device, size_t bytes);
  void give(const Allocation& allocation);  // with the lock held
  void check_guards(const Allocation& allocation);
  void check_freed(const Freed& freed);
  void set_access(const Allocation& allocation, bool accessible);

  std::mutex mutex_;
  std::map<const char*, Allocation> live_;
  std::vector<PerDevice> devices_;
  std::deque<Freed> freed_;
  size_t freed_bytes_ = 0;
};

Memory& memory();

}  // namespace cuda_on_cpu
