#include "runtime/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::io {

std::string read_file(const std::string& path, size_t max_bytes) {
  const ReadFile file(path);
  if (file.size() > max_bytes) {
    fail("{}: {} bytes, more than the {} allowed for this kind of file", path, file.size(),
         max_bytes);
  }
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

ReadFile::ReadFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would hang.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail("cannot open {}: {}", path, std::strerror(errno));
  struct stat status {};
  if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd_);
    fail("{} is {}, not a regular file", path, S_ISDIR(status.st_mode) ? "a folder" : "special");
  }
  size_ = uint64_t(status.st_size);
}

ReadFile::~ReadFile() {
  if (fd_ >= 0) ::close(fd_);
}

ReadFile::ReadFile(ReadFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

ReadFile& ReadFile::operator=(ReadFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

void ReadFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    fail("{}: {} bytes wanted at offset {}, but the file has {}", path_, out.size(), offset, size_);
  }
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done, off_t(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read {}: {}", path_, std::strerror(errno));
    if (n == 0) fail("{} became shorter while it was read", path_);
    done += size_t(n);
  }
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), temporary_(path + ".tmp") {
  // A leftover of a killed run is removed first; O_EXCL and O_NOFOLLOW then never follow a planted
  // link.
  ::unlink(temporary_.c_str());
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail("cannot write {}: {}", path, std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write {}: {}", path_, std::strerror(errno));
    if (n == 0) fail("cannot write {}: nothing was taken", path_);
    bytes = bytes.subspan(size_t(n));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  // A rename would take the name from a device, and would replace a link to a folder.
  struct stat status {};
  if (::stat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    fail("cannot write {}: it is {}, not a regular file; choose another name", path_,
         S_ISDIR(status.st_mode) ? "a folder" : "special");
  }
  if (::fsync(fd_) != 0) fail("cannot write {}: {}", path_, std::strerror(errno));
  if (::close(std::exchange(fd_, -1)) != 0)
    fail("cannot write {}: {}", path_, std::strerror(errno));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("cannot rename {} into place: {}", temporary_, std::strerror(errno));
  }
  temporary_.clear();
  const auto folder = std::filesystem::path(path_).parent_path();
  sync_folder(folder.empty() ? "." : folder.string());
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void replace_folder(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    remove_all(from);
    return;
  }
  if (::rename(from.c_str(), to.c_str()) == 0) return;  // there was no `to`
  if (errno == ENOTEMPTY || errno == EEXIST) {          // no swapping here
    remove_all(to);
    if (::rename(from.c_str(), to.c_str()) == 0) return;
  }
  fail("cannot rename {} into place: {}", from, std::strerror(errno));
}

void sync_folder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("cannot open folder {}: {}", path, std::strerror(errno));
  const int rc = ::fsync(fd);
  ::close(fd);
  // Some file systems do not support fsync of a folder; then there is nothing more to be done.
  if (rc != 0 && errno != EINVAL) fail("cannot sync folder {}: {}", path, std::strerror(errno));
}

}  // namespace tessera::io
