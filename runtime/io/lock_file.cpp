#include "runtime/io/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

constexpr size_t kLongestHolder = 200;

int lock(int fd) {
  for (;;) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

LockFile::LockFile(const std::string& path) {
  // Open for writing, which an exclusive lock needs over NFS. O_NONBLOCK: a pipe must not hang it.
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd_ < 0) fail("cannot write {}: {}", path, std::strerror(errno));
  const int error = lock(fd_);
  state_ = error == 0 ? State::kHeld : error == EWOULDBLOCK ? State::kTaken : State::kUnsupported;
}

LockFile::~LockFile() {
  if (state_ == State::kHeld) ::flock(fd_, LOCK_UN);
  ::close(fd_);
}

void LockFile::write_holder(std::string_view text) const {
  if (::ftruncate(fd_, 0) != 0) return;
  [[maybe_unused]] const ssize_t written = ::pwrite(fd_, text.data(), text.size(), 0);
}

std::string LockFile::holder() const {
  std::string text(kLongestHolder, '\0');
  const ssize_t n = ::pread(fd_, text.data(), text.size(), 0);
  text.resize(n > 0 ? size_t(n) : 0);
  if (text.ends_with('\n')) text.pop_back();
  return printable(text);
}

}  // namespace tessera::io
