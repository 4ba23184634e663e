// Splits the text of one JSON array into its elements without parsing them: it follows brackets and
// quotes only. A parser has to check each element.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "launch/data/files/text_chunks.h"

namespace tessera::launch {

class JsonElements {
 public:
  /// The text begins with '[', behind blanks.
  explicit JsonElements(TextChunks& text);

  /// Reads the text of the next element, with blanks around it; false behind the last one. Error
  /// where the array is not closed or something follows it, and for an element of more than 64 MiB.
  bool next(std::string& element);
  /// "file: row N" of that element.
  std::string where() const;

 private:
  enum class End { kNone, kElement, kArray };
  /// Returns how many bytes of `chunk` belong to the element; `end` tells what ends it there.
  size_t scan(std::string_view chunk, End& end);
  size_t scan_string(std::string_view chunk);
  void expect_end();
  void skip_blanks();

  TextChunks& text_;
  int64_t number_ = 0;
  int64_t depth_ = 0;  // of brackets inside the element
  bool in_string_ = false;
  bool escaped_ = false;  // a backslash came before
  bool closed_ = false;
};

}  // namespace tessera::launch
