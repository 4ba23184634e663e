// Arithmetic on numbers that came from a file. Overflow is sticky: a result that does not fit in 64
// bits is invalid, and so is everything computed from it; the one test before use is enough.
#pragma once

#include <cstdint>

#include "runtime/core/error.h"

namespace tessera::io {

class Checked {
 public:
  constexpr Checked(uint64_t value = 0) : value_(value) {}  // NOLINT: implicit by purpose
  static constexpr Checked invalid() {
    Checked none;
    none.valid_ = false;
    return none;
  }

  constexpr bool valid() const { return valid_; }
  /// Valid and at most `limit`.
  constexpr bool fits(uint64_t limit) const { return valid_ && value_ <= limit; }
  /// Asking an invalid number for its value is a bug.
  uint64_t value() const {
    TESSERA_CHECK(valid_);
    return value_;
  }

  friend constexpr Checked operator+(Checked a, Checked b) {
    Checked sum;
    sum.valid_ = !__builtin_add_overflow(a.value_, b.value_, &sum.value_) && a.valid_ && b.valid_;
    return sum;
  }
  friend constexpr Checked operator*(Checked a, Checked b) {
    Checked product;
    product.valid_ =
        !__builtin_mul_overflow(a.value_, b.value_, &product.value_) && a.valid_ && b.valid_;
    return product;
  }
  /// Up to the next multiple of `unit`, which is not zero.
  constexpr Checked round_up(uint64_t unit) const {
    const uint64_t rest = value_ % unit;
    return rest == 0 ? *this : *this + Checked(unit - rest);
  }

 private:
  uint64_t value_;
  bool valid_ = true;
};

}  // namespace tessera::io
