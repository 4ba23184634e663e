// Text of which every byte is known to come from the template or from data. All that a template
// does to a string carries the marks of its bytes along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch::jinja {

/// The bytes [begin, end) came from the data with the number `source`.
struct Mark {
  size_t begin = 0;
  size_t end = 0;
  int32_t source = 0;

  bool operator==(const Mark&) const = default;
};

/// Valid UTF-8 with marks: sorted, disjoint, not empty; neighbours of one source are one mark.
struct Text {
  std::string bytes;
  std::vector<Mark> marks;

  Text() = default;
  Text(std::string text) : bytes(std::move(text)) {}  // NOLINT: text of the template
  Text(const char* text) : bytes(text) {}             // NOLINT
  /// All of it came from `source`.
  Text(std::string text, int32_t source);

  size_t size() const { return bytes.size(); }
  bool empty() const { return bytes.empty(); }
  Text part(size_t begin, size_t end) const;

  void append(const Text& other);
  /// The bytes [begin, end) of `other`.
  void append(const Text& other, size_t begin, size_t end);
  /// Bytes of the template.
  void write(std::string_view text) { bytes += text; }
  /// `text` in place of the byte `at` of `other` and those after it: it came from where that did.
  void append_as(std::string_view text, const Text& other, size_t at);

 private:
  void mark(size_t begin, size_t end, int32_t source);
};

}  // namespace tessera::launch::jinja
