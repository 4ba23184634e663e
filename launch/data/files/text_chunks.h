// The text of a file, a chunk at a time: unpacked, in UTF-8 whatever it was written in, without a
// byte order mark, and checked. Memory does not grow with the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "launch/data/files/byte_stream.h"
#include "launch/data/files/known_formats.h"

namespace tessera::launch {

class TextChunks {
 public:
  /// Error where the file cannot be read or is no text.
  explicit TextChunks(const std::string& path);

  const std::string& path() const { return path_; }

  /// The part of the text that comes next, in whole letters; empty only at the end. The first one
  /// is the whole text or about 256 KiB of it, so that it tells what the file is. It stays valid
  /// until it is taken and peek() is called again. Error naming file and line for broken text.
  std::string_view peek();
  /// Moves past the first `bytes` of what peek() gives.
  void take(size_t bytes) { taken_ += bytes; }

 private:
  void fill();
  /// These move letters from raw_ to text_. The bytes of a letter that is cut stay in raw_.
  void take_utf8();
  void take_utf16(bool little);
  void refuse_nul() const;
  [[noreturn]] void refuse_at(size_t offset, std::string_view fault) const;

  const std::string path_;
  const std::unique_ptr<ByteStream> bytes_;
  TextEncoding encoding_ = TextEncoding::kUtf8;
  std::vector<char> buffer_;
  std::string raw_;    // bytes that are not decoded yet
  std::string text_;   // the chunk
  size_t taken_ = 0;   // bytes of text_ that were taken
  int64_t lines_ = 0;  // lines that ended before text_
  bool ended_ = false;
};

}  // namespace tessera::launch
