// The status line and the headers of an answer over HTTP, as far as the hub's protocol uses them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::launch {

class ResponseHead {
 public:
  /// Takes the next line. A status line ("HTTP/1.1 200 OK") begins a new head. Lines that are none
  /// of HTTP, and headers beyond a bounded number of bytes, are ignored.
  void take_line(std::string_view line);

  int status() const { return status_; }  // 0 before a status line
  bool is_content() const { return status_ == 200 || status_ == 206; }
  bool is_redirect() const { return status_ >= 300 && status_ < 400 && !location_.empty(); }

  // Empty where there is no such header.
  const std::string& location() const { return location_; }
  const std::string& error_code() const { return error_code_; }        // X-Error-Code
  const std::string& error_message() const { return error_message_; }  // X-Error-Message
  /// X-Linked-Etag, which is the SHA-256 of a file in large storage, without quotes.
  const std::string& linked_etag() const { return linked_etag_; }
  const std::string& etag() const { return etag_; }  // ETag, without quotes

  std::optional<uint64_t> linked_size() const { return linked_size_; }        // X-Linked-Size
  std::optional<uint64_t> content_length() const { return content_length_; }  // Content-Length
  /// Where the content begins in the file, and how long that is: "bytes 5-9/10" is 5 and 10.
  std::optional<uint64_t> range_begin() const { return range_begin_; }
  std::optional<uint64_t> range_total() const { return range_total_; }
  /// Seconds to wait before the next try: Retry-After, else RateLimit's t.
  std::optional<uint64_t> retry_after() const { return retry_after_; }

 private:
  void take_header(std::string_view key, std::string_view value);
  void take_range(std::string_view value);
  void take_rate_limit(std::string_view value);

  int status_ = 0;
  size_t bytes_ = 0;
  std::string location_, error_code_, error_message_, linked_etag_, etag_;
  std::optional<uint64_t> linked_size_, content_length_, range_begin_, range_total_, retry_after_;
};

/// An ETag as huggingface_hub names a blob after it: W/"x" and "x" are x.
std::string plain_etag(std::string_view etag);

/// A whole decimal number that fits; else nothing.
std::optional<uint64_t> whole_number(std::string_view text);

}  // namespace tessera::launch
