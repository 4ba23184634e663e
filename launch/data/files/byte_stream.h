// Reads the bytes of a file piece by piece and unpacks gzip and zstd. The first bytes of the file
// tell whether it is compressed, not its name. Memory does not grow with the file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "runtime/io/file.h"

namespace tessera::launch {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Fills `out` and returns the number of bytes, which is less than out.size() only at the end.
  virtual size_t read(std::span<char> out) = 0;
};

/// A file as it is.
class FileBytes final : public ByteStream {
 public:
  explicit FileBytes(const std::string& path) : file_(path) {}
  size_t read(std::span<char> out) override;

 private:
  io::ReadFile file_;
  uint64_t offset_ = 0;
};

inline constexpr std::string_view kGzipMagic = "\x1f\x8b";
inline constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

/// Unpacks all members of a gzip file. For a file that is cut off or damaged, reading throws an
/// Error that says how many bytes were unpacked.
std::unique_ptr<ByteStream> gzip_bytes(std::unique_ptr<ByteStream> packed, const std::string& path);

/// Unpacks all frames of a zstd file, with windows up to 128 MiB. Errors as for gzip.
std::unique_ptr<ByteStream> zstd_bytes(std::unique_ptr<ByteStream> packed, const std::string& path);

/// Opens a file, and unpacks it where that is needed. Error where it cannot be read.
std::unique_ptr<ByteStream> open_bytes(const std::string& path);

}  // namespace tessera::launch
