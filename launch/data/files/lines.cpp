#include "launch/data/files/lines.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

bool is_blank(std::string_view line) { return line.find_first_not_of(kBlank) == line.npos; }

std::string place(const std::string& path, int64_t line) {
  return fmt::format("{}:{}", path, line);
}

void check_length(size_t bytes, const std::string& path, int64_t line) {
  if (bytes > kMaxRowBytes) fail("{}: the line is longer than 64 MiB", place(path, line));
}

}  // namespace

void for_each_line(std::string_view text, const std::string& path,
                   FunctionRef<void(std::string_view line, const std::string& where)> visit) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (is_blank(line)) continue;
    check_length(line.size(), path, number);
    visit(line, place(path, number));
  }
}

bool LineReader::next(std::string_view& line) {
  do {
    if (!next_of_all(line)) return false;
  } while (is_blank(line));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return true;
}

bool LineReader::next_of_all(std::string_view& line) {
  long_line_.clear();
  ++number_;
  for (;;) {
    const std::string_view chunk = text_.peek();
    const size_t end = std::min(chunk.find('\n'), chunk.size());
    check_length(long_line_.size() + end, text_.path(), number_);
    const bool whole = end < chunk.size();
    if (whole && long_line_.empty()) {
      line = chunk.substr(0, end);
      text_.take(end + 1);
      return true;
    }
    long_line_ += chunk.substr(0, end);
    text_.take(end + (whole ? 1 : 0));
    if (!whole && !chunk.empty()) continue;
    line = long_line_;
    return whole || !long_line_.empty();
  }
}

std::string LineReader::where() const { return place(text_.path(), number_); }

}  // namespace tessera::launch
