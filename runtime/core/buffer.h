// Owned memory, 4096-byte aligned, zero-filled. Move-only.
#pragma once

#include <cstddef>
#include <memory>

#include "runtime/core/device.h"

namespace tessera {

class Buffer {
 public:
  enum class Kind { kHost, kPinned, kDevice };

  Buffer() = default;
  /// Pages are mapped on first touch, so an untouched Buffer costs no resident memory.
  /// Throws Error when the system has no more memory.
  static Buffer host(size_t bytes);

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Unmap {
    Unmap() : bytes(0) {}
    explicit Unmap(size_t n) : bytes(n) {}
    void operator()(std::byte* p) const;
    size_t bytes;
  };
  std::unique_ptr<std::byte, Unmap> data_;
  size_t size_ = 0;
};

}  // namespace tessera
