#include "runtime/io/gguf_cursor.h"

#include <algorithm>
#include <bit>
#include <type_traits>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they are stored");

constexpr size_t kWindow = 1 << 16;

template <class T>
GgufNumber take(GgufCursor& cursor, std::string_view key) {
  const T value = cursor.number<T>(key);
  GgufNumber number{.is_real = true, .real = double(value)};
  if constexpr (std::is_integral_v<T>) {
    number.is_integer = std::in_range<int64_t>(value);
    number.integer = int64_t(value);
  }
  return number;
}

}  // namespace

/// Bytes of a value of fixed size; 0 for strings, arrays and unknown types.
uint64_t size_of(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16:
      return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32:
      return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

void GgufCursor::ends_inside(std::string_view what) const {
  fail("{}: the file ends inside '{}'; it is cut short or damaged", file_.path(), printable(what));
}

void GgufCursor::skip(Checked bytes, std::string_view what) {
  if (!bytes.fits(remaining())) ends_inside(what);
  position_ += bytes.value();
}

uint64_t GgufCursor::text_length(uint64_t max, std::string_view what) {
  const auto length = number<uint64_t>(what);
  if (length > max) {
    fail("{}: a text of '{}' claims {} bytes, at most {} are allowed", file_.path(),
         printable(what), length, max);
  }
  if (length > remaining()) ends_inside(what);
  return length;
}

std::string GgufCursor::text(uint64_t max, std::string_view what) {
  const uint64_t length = text_length(max, what);
  std::string value(length, '\0');
  if (length <= kWindow) {
    std::memcpy(value.data(), take(length, what), length);
  } else {
    file_.read(position_, std::as_writable_bytes(std::span(value)));
    position_ += length;
  }
  return value;
}

const std::byte* GgufCursor::take(size_t bytes, std::string_view what) {
  if (bytes > remaining()) ends_inside(what);
  if (position_ < window_begin_ || position_ + bytes > window_begin_ + window_.size()) {
    window_begin_ = position_;
    window_.resize(std::min<uint64_t>(kWindow, remaining()));
    file_.read(position_, window_);
  }
  const std::byte* at = window_.data() + (position_ - window_begin_);
  position_ += bytes;
  return at;
}

GgufNumber take_number(GgufCursor& cursor, GgufValueType type, std::string_view key) {
  switch (type) {
    case GgufValueType::kU8:
      return take<uint8_t>(cursor, key);
    case GgufValueType::kI8:
      return take<int8_t>(cursor, key);
    case GgufValueType::kU16:
      return take<uint16_t>(cursor, key);
    case GgufValueType::kI16:
      return take<int16_t>(cursor, key);
    case GgufValueType::kU32:
      return take<uint32_t>(cursor, key);
    case GgufValueType::kI32:
      return take<int32_t>(cursor, key);
    case GgufValueType::kU64:
      return take<uint64_t>(cursor, key);
    case GgufValueType::kI64:
      return take<int64_t>(cursor, key);
    case GgufValueType::kF32:
      return take<float>(cursor, key);
    case GgufValueType::kF64:
      return take<double>(cursor, key);
    case GgufValueType::kBool:
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return {};
}

}  // namespace tessera::io
