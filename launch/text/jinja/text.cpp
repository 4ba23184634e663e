#include "launch/text/jinja/text.h"

#include <algorithm>

namespace tessera::launch::jinja {
namespace {

/// The first mark that ends after `at`.
auto mark_after(const std::vector<Mark>& marks, size_t at) {
  return std::upper_bound(marks.begin(), marks.end(), at,
                          [](size_t wanted, const Mark& mark) { return wanted < mark.end; });
}

}  // namespace

Text::Text(std::string text, int32_t source) : bytes(std::move(text)) {
  mark(0, bytes.size(), source);
}

void Text::mark(size_t begin, size_t end, int32_t source) {
  if (begin == end) return;
  if (!marks.empty() && marks.back().end == begin && marks.back().source == source) {
    marks.back().end = end;
  } else {
    marks.push_back({begin, end, source});
  }
}

Text Text::part(size_t begin, size_t end) const {
  Text result;
  result.append(*this, begin, end);
  return result;
}

void Text::append(const Text& other) { append(other, 0, other.size()); }

void Text::append(const Text& other, size_t begin, size_t end) {
  const size_t start = bytes.size();
  bytes.append(other.bytes, begin, end - begin);
  if (other.marks.empty()) return;
  for (auto it = mark_after(other.marks, begin); it != other.marks.end() && it->begin < end; ++it) {
    mark(start + std::max(it->begin, begin) - begin, start + std::min(it->end, end) - begin,
         it->source);
  }
}

void Text::append_as(std::string_view text, const Text& other, size_t at) {
  const size_t start = bytes.size();
  bytes += text;
  const auto it = mark_after(other.marks, at);
  if (it != other.marks.end() && it->begin <= at) mark(start, bytes.size(), it->source);
}

}  // namespace tessera::launch::jinja
