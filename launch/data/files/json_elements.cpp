#include "launch/data/files/json_elements.h"

#include <algorithm>

#include "launch/data/files/lines.h"
#include "runtime/core/error.h"

namespace tessera::launch {

JsonElements::JsonElements(TextChunks& text) : text_(text) {
  skip_blanks();
  TESSERA_CHECK(text_.peek().starts_with('['));
  text_.take(1);
}

std::string JsonElements::where() const { return fmt::format("{}: row {}", text_.path(), number_); }

bool JsonElements::next(std::string& element) {
  element.clear();
  if (closed_) return false;
  ++number_;
  End end = End::kNone;
  while (end == End::kNone) {
    const std::string_view chunk = text_.peek();
    if (chunk.empty()) fail("{}: the file ends inside the array; is it cut off?", where());
    const size_t bytes = scan(chunk, end);
    if (element.size() + bytes > kMaxRowBytes) fail("{}: the row is longer than 64 MiB", where());
    element += chunk.substr(0, bytes);
    text_.take(bytes + (end == End::kNone ? 0 : 1));
  }
  closed_ = end == End::kArray;
  if (closed_) expect_end();
  const bool empty = element.find_first_not_of(kBlank) == element.npos;
  if (empty && !(closed_ && number_ == 1)) {
    fail("{}: a row is missing: a comma stands where none belongs", where());
  }
  return !empty;
}

size_t JsonElements::scan(std::string_view chunk, End& end) {
  for (size_t at = 0; at < chunk.size();) {
    if (in_string_) {
      at += scan_string(chunk.substr(at));
      continue;
    }
    const char c = chunk[at];
    if (depth_ == 0 && (c == ',' || c == ']')) {
      end = c == ',' ? End::kElement : End::kArray;
      return at;
    }
    if (depth_ == 0 && c == '}') fail("{}: a '}}' closes what no '{{' opened", where());
    in_string_ = c == '"';
    depth_ += (c == '{' || c == '[') - (c == '}' || c == ']');
    ++at;
  }
  return chunk.size();
}

size_t JsonElements::scan_string(std::string_view chunk) {
  if (escaped_) {
    escaped_ = false;
    return 1;
  }
  const size_t at = chunk.find_first_of("\"\\");
  if (at == chunk.npos) return chunk.size();
  escaped_ = chunk[at] == '\\';
  in_string_ = escaped_;
  return at + 1;
}

void JsonElements::expect_end() {
  skip_blanks();
  const std::string_view rest = text_.peek();
  if (!rest.empty()) fail("{}: something follows the end of the array", text_.path());
}

void JsonElements::skip_blanks() {
  for (;;) {
    const std::string_view chunk = text_.peek();
    const size_t blanks = std::min(chunk.find_first_not_of(kBlank), chunk.size());
    text_.take(blanks);
    if (chunk.empty() || blanks < chunk.size()) return;
  }
}

}  // namespace tessera::launch
