// Splits text into lines and numbers them as an editor does. Blank lines are skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "launch/data/files/text_chunks.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

inline constexpr size_t kMaxRowBytes = size_t{64} << 20;
inline constexpr std::string_view kBlank = " \t\r\n";

/// Calls `visit(line, where)` for every line of `text` that is not blank; `where` is file:line.
void for_each_line(std::string_view text, const std::string& path,
                   FunctionRef<void(std::string_view line, const std::string& where)> visit);

/// Reads the lines of a file.
class LineReader {
 public:
  explicit LineReader(TextChunks& text) : text_(text) {}

  /// Reads the next line that is not blank, without its line end; false at the end of the file. The
  /// line is valid until the next call. Error for a line longer than 64 MiB.
  bool next(std::string_view& line);
  /// "file:line" of that line.
  std::string where() const;

 private:
  /// The next line, blank or not.
  bool next_of_all(std::string_view& line);

  TextChunks& text_;
  std::string long_line_;  // a line that lies in more than one chunk
  int64_t number_ = 0;
};

}  // namespace tessera::launch
