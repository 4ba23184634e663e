#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "control.h"

namespace cuda_on_cpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kPage = 4096;
constexpr size_t kArena = size_t(1) << 40;
constexpr unsigned char kFill = 0xFF;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuard = 0;  // AddressSanitizer has its own, and keeps what was freed
constexpr size_t kKeptFreed = 0;
#else
constexpr size_t kGuard = kAlignment;
constexpr size_t kKeptFreed = size_t(8) << 20;
#endif

bool untouched(const char* p, size_t bytes) {
  return bytes == 0 ||
         (static_cast<unsigned char>(*p) == kFill && memcmp(p, p + 1, bytes - 1) == 0);
}

char* heap_block(size_t bytes) {
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes + 2 * kGuard) != 0) return nullptr;
  memset(block, kFill, bytes + 2 * kGuard);
  return static_cast<char*>(block) + kGuard;
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

Memory& memory() {
  static Memory& memory = *new Memory;  // outlives whatever frees memory when the process ends
  return memory;
}

Memory::Memory() : devices_(size_t(settings().devices)) {}

char* Memory::take(int device, size_t bytes) {
  if (!settings().protect) return heap_block(bytes);
  PerDevice& d = devices_[size_t(device)];
  if (d.arena == nullptr) {
    void* const arena =
        mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return nullptr;
    d.arena = static_cast<char*>(arena);
  }
  const size_t pages = whole_pages(bytes);
  if (d.arena_used + pages + kPage > kArena) return nullptr;
  char* const start = d.arena + d.arena_used;
  d.arena_used += pages + kPage;  // a page between two allocations is never accessible
  if (mprotect(start, pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
  memset(start, kFill, pages);
  if (d.open == 0) mprotect(start, pages, PROT_NONE);
  return start;
}

void* Memory::allocate(int device, size_t bytes) {
  const std::lock_guard lock(mutex_);
  PerDevice& d = devices_[size_t(device)];
  if (bytes > settings().memory - d.used) return nullptr;
  char* const start = take(device, bytes);
  if (start == nullptr) return nullptr;
  d.used += bytes;
  d.peak = std::max(d.peak, d.used);
  live_[start] = {start, bytes, Allocation::Kind::kDevice, device};
  return start;
}

void* Memory::allocate_pinned(int device, size_t bytes) {
  const std::lock_guard lock(mutex_);
  char* const start = heap_block(bytes);
  if (start != nullptr) live_[start] = {start, bytes, Allocation::Kind::kPinned, device};
  return start;
}

void Memory::register_host(int device, void* p, size_t bytes) {
  const std::lock_guard lock(mutex_);
  char* const start = static_cast<char*>(p);
  live_[start] = {start, bytes, Allocation::Kind::kRegistered, device};
}

bool Memory::release(void* p, Allocation::Kind kind) {
  const std::optional<Allocation> allocation = find(p);
  if (!detach(p, kind)) return false;
  dispose(*allocation);
  return true;
}

bool Memory::detach(void* p, Allocation::Kind kind) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(static_cast<const char*>(p));
  if (found == live_.end() || found->second.kind != kind) return false;
  if (kind == Allocation::Kind::kDevice) {
    devices_[size_t(found->second.device)].used -= found->second.bytes;
  }
  live_.erase(found);
  return true;
}

void Memory::dispose(const Allocation& allocation) {
#if defined(__SANITIZE_THREAD__)
  // By the stream that frees it, which must not meet others at a lock.
  if (allocation.on_device() && !settings().protect) return free(allocation.start - kGuard);
#endif
  const std::lock_guard lock(mutex_);
  give(allocation);
}

void Memory::give(const Allocation& a) {
  if (a.kind == Allocation::Kind::kRegistered) return;
  if (a.on_device() && settings().protect) {
    mprotect(a.start, whole_pages(a.bytes), PROT_NONE);
    madvise(a.start, whole_pages(a.bytes), MADV_DONTNEED);
    return;
  }
  check_guards(a);
  memset(a.start, kFill, a.bytes);
  freed_.push_back({a.start - kGuard, a.start, a.bytes, a.device});
  freed_bytes_ += a.bytes;
  while (freed_bytes_ > kKeptFreed) {
    const Freed oldest = freed_.front();
    freed_.pop_front();
    freed_bytes_ -= oldest.bytes;
    check_freed(oldest);
    free(oldest.base);
  }
}

void Memory::release_device(int device) {
  const std::lock_guard lock(mutex_);
  for (auto it = live_.begin(); it != live_.end();) {
    const Allocation a = it->second;
    if (a.on_device() && a.device == device) {
      it = live_.erase(it);
      devices_[size_t(device)].used -= a.bytes;
      give(a);
    } else {
      ++it;
    }
  }
  PerDevice& d = devices_[size_t(device)];
  d.peak = d.used;
  d.damage.clear();
}

std::optional<Allocation> Memory::find(const void* p) {
  const std::lock_guard lock(mutex_);
  const char* const at = static_cast<const char*>(p);
  auto next = live_.upper_bound(at);
  if (next == live_.begin()) return std::nullopt;
  const Allocation& a = std::prev(next)->second;
  if (at - a.start > std::ptrdiff_t(a.bytes)) return std::nullopt;
  return a;
}

size_t Memory::used(int device) {
  const std::lock_guard lock(mutex_);
  return devices_[size_t(device)].used;
}

size_t Memory::peak(int device) {
  const std::lock_guard lock(mutex_);
  return devices_[size_t(device)].peak;
}

void Memory::check_guards(const Allocation& a) {
  if (untouched(a.start - kGuard, kGuard) && untouched(a.start + a.bytes, kGuard)) return;
  devices_[size_t(a.device)].damage = "something wrote outside of an allocation of " +
                                      std::to_string(a.bytes) + " bytes, close to its ends";
  memset(a.start - kGuard, kFill, kGuard);
  memset(a.start + a.bytes, kFill, kGuard);
}

void Memory::check_freed(const Freed& freed) {
  if (kKeptFreed == 0 || untouched(freed.start, freed.bytes)) return;
  devices_[size_t(freed.device)].damage =
      "something wrote to " + std::to_string(freed.bytes) + " bytes of memory after it was freed";
  memset(freed.start, kFill, freed.bytes);
}

std::string Memory::take_damage(int device) {
  const std::lock_guard lock(mutex_);
  if (!settings().protect) {
    for (const auto& [start, a] : live_) {
      if (a.device == device && a.kind != Allocation::Kind::kRegistered) check_guards(a);
    }
  }
  for (const Freed& freed : freed_) {
    if (freed.device == device) check_freed(freed);
  }
  return std::exchange(devices_[size_t(device)].damage, {});
}

void Memory::set_access(const Allocation& a, bool accessible) {
  mprotect(a.start, whole_pages(a.bytes), accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void Memory::open(int device) {
  if (!settings().protect) return;
  const std::lock_guard lock(mutex_);
  for (int d = 0; d < int(devices_.size()); ++d) {
    if ((device != -1 && device != d) || devices_[size_t(d)].open++ != 0) continue;
    for (const auto& [start, a] : live_) {
      if (a.on_device() && a.device == d) set_access(a, true);
    }
  }
}

void Memory::close(int device) {
  if (!settings().protect) return;
  const std::lock_guard lock(mutex_);
  for (int d = 0; d < int(devices_.size()); ++d) {
    if ((device != -1 && device != d) || --devices_[size_t(d)].open != 0) continue;
    for (const auto& [start, a] : live_) {
      if (a.on_device() && a.device == d) set_access(a, false);
    }
  }
}

}  // namespace cuda_on_cpu
