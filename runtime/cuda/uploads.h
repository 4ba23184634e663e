// Small values on their way from the host to a GPU. They pass through pinned memory of the
// context's own, so that neither the host waits for the device nor the caller has to keep them.
#pragma once

#include <array>
#include <cstddef>

#include "runtime/core/buffer.h"
#include "runtime/core/stream.h"

namespace tessera::cuda {

class Uploads {
 public:
  /// Of the device of `stream`, which has to outlive it.
  Uploads(Device device, Stream& stream) : device_(device), stream_(stream) {}
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;
  ~Uploads();

  /// Copies `bytes` bytes in order with the stream's work. `from` may go away after the call.
  void copy(void* to, const void* from, size_t bytes);

  static constexpr size_t kPiece = size_t{128} << 10;

 private:
  /// Pinned memory, filled from its begin on and used again when the device has read all of it.
  struct Piece {
    Buffer memory;  // made when first used
    Event read;
  };
  Piece& piece_with_room();

  Device device_;
  Stream& stream_;
  std::array<Piece, 4> pieces_;
  size_t at_ = 0;    // the piece that is being filled
  size_t used_ = 0;  // bytes of it
};

}  // namespace tessera::cuda
