// A file that grows by whole pieces (lines, records), each there at once for whoever reads it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::io {

class AppendFile {
 public:
  /// Opens a file that is there. Error where it cannot be written.
  explicit AppendFile(const std::string& path);
  /// Makes an empty file, or none where there is something of this name. Error where it cannot be
  /// made.
  static std::optional<AppendFile> make(const std::string& path);
  ~AppendFile();
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;

  const std::string& path() const { return path_; }
  /// False where not all of `piece` could be written (a full disk). The file is then as it was
  /// before.
  bool append(std::string_view piece);

 private:
  AppendFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
};

}  // namespace tessera::io
