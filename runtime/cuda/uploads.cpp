#include "runtime/cuda/uploads.h"

#include <algorithm>
#include <cstring>

#include "runtime/cuda/backend.h"
#include "runtime/ops/transfer.h"

namespace tessera::cuda {

Uploads::~Uploads() {
  try {
    stream_.synchronize();
  } catch (...) {  // a device that has failed reads no more, and has told whoever waited for it
  }
}

Uploads::Piece& Uploads::piece_with_room() {
  if (used_ == kPiece) {
    pieces_[at_].read = stream_.record();
    at_ = (at_ + 1) % pieces_.size();
    pieces_[at_].read.wait();
    used_ = 0;
  }
  Piece& piece = pieces_[at_];
  if (piece.memory.size() == 0) piece.memory = Buffer::staging_for(device_, kPiece);
  return piece;
}

void Uploads::copy(void* to, const void* from, size_t bytes) {
  constexpr size_t kAlignment = 256;
  for (size_t done = 0; done < bytes;) {
    std::byte* const room = piece_with_room().memory.data() + used_;
    const size_t length = std::min(kPiece - used_, bytes - done);
    std::memcpy(room, static_cast<const std::byte*>(from) + done, length);
    stream_.copy(static_cast<std::byte*>(to) + done, room, length);
    used_ = std::min(kPiece, (used_ + length + kAlignment - 1) / kAlignment * kAlignment);
    done += length;
  }
}

void upload(Context& ctx, void* to, const void* from, size_t bytes) {
  backend_of(ctx).uploads.copy(to, from, bytes);
}

}  // namespace tessera::cuda
