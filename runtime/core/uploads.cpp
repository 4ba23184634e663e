#include "runtime/core/uploads.h"

#include <algorithm>
#include <cstring>

namespace tessera {

Uploads::~Uploads() {
  for (Piece& piece : pieces_) {
    try {
      piece.read.wait();
    } catch (...) {  // a device that has failed reads no more, and has told whoever waited for it
    }
  }
}

void Uploads::copy(Stream& stream, void* to, const void* from, size_t bytes) {
  if (!device_.is_cuda()) return stream.copy(to, from, bytes);
  for (size_t done = 0; done < bytes; done += kPiece) {
    const size_t length = std::min(kPiece, bytes - done);
    Piece& piece = pieces_[next_++ % pieces_.size()];
    piece.read.wait();
    if (piece.memory.size() == 0) piece.memory = Buffer::staging_for(device_, kPiece);
    std::memcpy(piece.memory.data(), static_cast<const std::byte*>(from) + done, length);
    stream.copy(static_cast<std::byte*>(to) + done, piece.memory.data(), length);
    piece.read = stream.record();
  }
}

}  // namespace tessera
