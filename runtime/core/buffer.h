// Owned memory, 4096-byte aligned (256 on a device), zero-filled. Move-only.
#pragma once

#include <cstddef>
#include <memory>

#include "runtime/core/device.h"

namespace tessera {

class Buffer {
 public:
  Buffer() = default;
  /// Pages are mapped on first touch, so an untouched Buffer costs no resident memory.
  /// These throw Error when there is no more memory.
  static Buffer host(size_t bytes);
  /// Memory of a device; the host's where that is the CPU.
  static Buffer on(Device device, size_t bytes);
  /// Host memory that copies to and from the device need not pass through other memory for.
  static Buffer staging_for(Device device, size_t bytes);

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  enum class Kind { kHost, kPinned, kDevice };
  struct Release {
    Release() : kind(Kind::kHost), bytes(0) {}
    Release(Kind k, size_t n, Device d) : kind(k), bytes(n), device(d) {}
    void operator()(std::byte* p) const;
    Kind kind;
    size_t bytes;
    Device device;
  };
  Buffer(void* data, Release release)
      : data_(static_cast<std::byte*>(data), release), size_(release.bytes) {}

  std::unique_ptr<std::byte, Release> data_;
  size_t size_ = 0;
};

}  // namespace tessera
