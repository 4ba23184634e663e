#include "runtime/core/arena.h"

#include <algorithm>

namespace tessera {

void* Arena::allocate(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const size_t begin = used_;
  if (!measuring_ && begin + rounded > buffer_.size()) {
    fail("arena of {} bytes is full: {} in use, {} more asked for", buffer_.size(), begin, rounded);
  }
  used_ = begin + rounded;
  high_water_ = std::max(high_water_, used_);
  return measuring_ ? nullptr : buffer_.data() + begin;
}

Tensor Arena::tensor(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor view(nullptr, dtype, shape);
  return Tensor(allocate(view.bytes()), dtype, shape, device_);
}

void Arena::release(size_t mark) {
  TESSERA_CHECK(mark <= used_);
  used_ = mark;
}

}  // namespace tessera
