// Walks over a GGUF file's metadata. Every read is checked against the end of the file, and every
// error names the file and what was being read.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/checked.h"
#include "runtime/io/file.h"
#include "runtime/io/gguf.h"

namespace tessera::io {

/// Bytes of a value of fixed size; 0 for strings and arrays.
uint64_t size_of(GgufValueType type);

/// Reads through a small window, so that a long list of short strings costs few reads and no
/// memory.
class GgufCursor {
 public:
  static constexpr uint64_t kMaxString = 1 << 26;

  GgufCursor(const ReadFile& file, uint64_t position) : file_(file), position_(position) {}

  uint64_t position() const { return position_; }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what), sizeof value);
    return value;
  }
  void skip(Checked bytes, std::string_view what);
  /// A string: its length, at most `max`, and its bytes.
  std::string text(uint64_t max, std::string_view what);
  void skip_text(std::string_view what) { skip(text_length(kMaxString, what), what); }

 private:
  [[noreturn]] void ends_inside(std::string_view what) const;
  uint64_t remaining() const { return file_.size() - position_; }
  uint64_t text_length(uint64_t max, std::string_view what);
  /// The next bytes, not more than the window holds.
  const std::byte* take(size_t bytes, std::string_view what);

  const ReadFile& file_;
  uint64_t position_;
  uint64_t window_begin_ = 0;
  std::vector<std::byte> window_;
};

/// One metadata number of any type, and as what it may be taken.
struct GgufNumber {
  bool is_real = false;     // every number
  bool is_integer = false;  // an integer that fits in int64
  int64_t integer = 0;
  double real = 0.0;
};

/// The number at the cursor; neither real nor integer when `type` is not a number's.
GgufNumber take_number(GgufCursor& cursor, GgufValueType type, std::string_view key);

}  // namespace tessera::io
