#include "launch/data/files/byte_stream.h"

#include <algorithm>
#include <array>

namespace tessera::launch {
namespace {

/// Whether the first four bytes are those of a frame that zstd skips; pzstd begins with one.
bool is_skippable_frame(std::string_view head) {
  return head.size() == 4 && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50 &&
         head.substr(1) == "\x2a\x4d\x18";
}

}  // namespace

size_t FileBytes::read(std::span<char> out) {
  const size_t count = size_t(std::min<uint64_t>(out.size(), file_.size() - offset_));
  file_.read(offset_, std::as_writable_bytes(out.first(count)));
  offset_ += count;
  return count;
}

std::unique_ptr<ByteStream> open_bytes(const std::string& path) {
  std::array<char, 4> begin;
  const std::string_view head(begin.data(), FileBytes(path).read(begin));
  auto file = std::make_unique<FileBytes>(path);
  if (head.starts_with(kGzipMagic)) return gzip_bytes(std::move(file), path);
  if (head.starts_with(kZstdMagic) || is_skippable_frame(head)) {
    return zstd_bytes(std::move(file), path);
  }
  return file;
}

}  // namespace tessera::launch
