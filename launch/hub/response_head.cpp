#include "launch/hub/response_head.h"

#include <algorithm>
#include <charconv>

namespace tessera::launch {
namespace {

constexpr size_t kMostBytes = 64 << 10;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

std::optional<uint64_t> whole_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

std::string plain_etag(std::string_view etag) {
  etag.remove_prefix(std::min(etag.find_first_not_of("W/"), etag.size()));
  etag.remove_prefix(std::min(etag.find_first_not_of('"'), etag.size()));
  return std::string(etag.substr(0, etag.find_last_not_of('"') + 1));
}

void ResponseHead::take_line(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with("HTTP/")) {
    *this = {};
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return;
    const auto status = whole_number(line.substr(space + 1, 3));
    if (status && *status >= 100) status_ = int(*status);
    return;
  }
  bytes_ += line.size();
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || bytes_ > kMostBytes) return;
  take_header(lower(trimmed(line.substr(0, colon))), trimmed(line.substr(colon + 1)));
}

void ResponseHead::take_header(std::string_view key, std::string_view value) {
  if (key == "location") location_ = value;
  if (key == "x-error-code") error_code_ = value;
  if (key == "x-error-message") error_message_ = value;
  if (key == "x-linked-etag") linked_etag_ = plain_etag(value);
  if (key == "etag") etag_ = plain_etag(value);
  if (key == "x-linked-size") linked_size_ = whole_number(value);
  if (key == "content-length") content_length_ = whole_number(value);
  if (key == "content-range") take_range(value);
  if (key == "retry-after") retry_after_ = whole_number(value);
  if (key == "ratelimit" && !retry_after_) take_rate_limit(value);
}

void ResponseHead::take_range(std::string_view value) {
  const size_t slash = value.find('/');
  if (!value.starts_with("bytes ") || slash == std::string_view::npos) return;
  range_total_ = whole_number(value.substr(slash + 1));
  const std::string_view range = value.substr(6, slash - 6);
  range_begin_ = whole_number(range.substr(0, range.find('-')));
}

/// "api";r=0;t=155
void ResponseHead::take_rate_limit(std::string_view value) {
  const size_t rest = value.find(";t=");
  if (rest == std::string_view::npos) return;
  const std::string_view seconds = value.substr(rest + 3);
  retry_after_ = whole_number(seconds.substr(0, seconds.find(';')));
}

}  // namespace tessera::launch
