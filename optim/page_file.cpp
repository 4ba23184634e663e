#include "optim/page_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/core/error.h"

namespace tessera::optim {

PageFile::PageFile(const std::string& folder, uint64_t bytes) : folder_(folder) {
  std::string name = folder + "/tessera-pages-XXXXXX";
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);  // mode 0600
  if (fd_ < 0) {
    fail("optimizer_page_dir: cannot make a file in {}: {}; name a folder that can be written",
         folder, std::strerror(errno));
  }
  ::unlink(name.c_str());
  int error;
  do {
    error = bytes == 0 ? 0 : ::posix_fallocate(fd_, 0, off_t(bytes));
  } while (error == EINTR);
  if (error != 0) {
    ::close(fd_);
    fail(
        "optimizer_page_dir: {} has no room for {} MiB of optimizer state: {}; free some, or name "
        "a folder on another disk",
        folder, (bytes + (1 << 20) - 1) >> 20, std::strerror(error));
  }
}

PageFile::~PageFile() { ::close(fd_); }

uint64_t PageFile::size() const {
  struct stat status {};
  TESSERA_CHECK(::fstat(fd_, &status) == 0);
  return uint64_t(status.st_size);
}

void PageFile::read(uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd_, into.data(), into.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail("optimizer_page_dir: cannot read a page back from {}: {}", folder_,
           n < 0 ? std::strerror(errno) : "the file became shorter");
    }
    offset += uint64_t(n);
    into = into.subspan(size_t(n));
  }
}

void PageFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail("optimizer_page_dir: cannot write a page to {}: {}", folder_,
           n < 0 ? std::strerror(errno) : "nothing was taken");
    }
    offset += uint64_t(n);
    bytes = bytes.subspan(size_t(n));
  }
}

}  // namespace tessera::optim
