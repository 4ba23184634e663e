// A bump allocator over one Buffer, with mark/release and a measure-only mode.
// Memory is not cleared between uses: an operator overwrites what it gets. In measure-only mode
// allocations return views with a null pointer and only the high-water mark is kept, so that
// running the real code over such an arena tells what it will need.
#pragma once

#include <initializer_list>
#include <utility>

#include "runtime/core/buffer.h"
#include "runtime/core/tensor.h"

namespace tessera {

class Arena {
 public:
  static constexpr size_t kAlignment = 256;

  /// Measure-only, of memory of the device.
  explicit Arena(Device device = {}) : device_(device) {}
  explicit Arena(size_t capacity) : Arena(Device::cpu(), capacity) {}
  Arena(Device device, size_t capacity) : Arena(device, Buffer::on(device, capacity)) {}
  /// Over memory that the device can reach; its tensors count as the device's.
  Arena(Device device, Buffer buffer)
      : device_(device), buffer_(std::move(buffer)), measuring_(false) {}

  Device device() const { return device_; }
  bool measuring() const { return measuring_; }
  size_t used() const { return used_; }
  size_t high_water() const { return high_water_; }
  size_t capacity() const { return buffer_.size(); }

  /// Uninitialised bytes, aligned to kAlignment. Throws Error when the arena is full.
  void* allocate(size_t bytes);
  Tensor tensor(DType dtype, std::initializer_list<int64_t> shape);
  Tensor f32(std::initializer_list<int64_t> shape) { return tensor(DType::kF32, shape); }

  size_t mark() const { return used_; }
  /// Frees all that was allocated since `mark`.
  void release(size_t mark);

 private:
  Device device_;
  Buffer buffer_;
  bool measuring_ = true;
  size_t used_ = 0;
  size_t high_water_ = 0;
};

/// Releases an arena to where it was, at scope exit.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  size_t mark_;
};

}  // namespace tessera
