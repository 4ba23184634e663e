#include "runtime/io/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/core/error.h"

namespace tessera::io {
namespace {

constexpr int kFlags = O_WRONLY | O_APPEND | O_CLOEXEC;

[[noreturn]] void refuse(const std::string& path) {
  fail("cannot write {}: {}", path, std::strerror(errno));
}

}  // namespace

AppendFile::AppendFile(const std::string& path) : AppendFile(path, ::open(path.c_str(), kFlags)) {
  if (fd_ < 0) refuse(path);
}

std::optional<AppendFile> AppendFile::make(const std::string& path) {
  const int fd = ::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0666);
  if (fd < 0 && errno == EEXIST) return std::nullopt;
  if (fd < 0) refuse(path);
  return AppendFile(path, fd);
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

bool AppendFile::append(std::string_view piece) {
  struct stat before {};
  if (::fstat(fd_, &before) != 0) return false;
  if (::write(fd_, piece.data(), piece.size()) == ssize_t(piece.size())) return true;
  // Half a piece would spoil the next one, too. Nothing helps where it cannot be taken back.
  [[maybe_unused]] const int taken_back = ::ftruncate(fd_, before.st_size);
  return false;
}

}  // namespace tessera::io
