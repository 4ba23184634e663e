// Small values on their way from the host to a device. They pass through pinned memory of the
// context's own, so that neither the host waits for the device nor the caller has to keep them.
#pragma once

#include <array>
#include <cstddef>

#include "runtime/core/buffer.h"
#include "runtime/core/stream.h"

namespace tessera {

class Uploads {
 public:
  explicit Uploads(Device device) : device_(device) {}
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;
  ~Uploads();

  /// Copies `bytes` bytes in order with the stream's work. `from` may go away after the call.
  void copy(Stream& stream, void* to, const void* from, size_t bytes);

  static constexpr size_t kPiece = size_t{128} << 10;

 private:
  struct Piece {
    Buffer memory;  // made when first used
    Event read;     // the device has read what was put here last
  };
  Device device_;
  std::array<Piece, 4> pieces_;
  size_t next_ = 0;
};

}  // namespace tessera
