#include "launch/hub/partial_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr size_t kPiece = 1 << 20;

}  // namespace

PartialFile::PartialFile(const std::string& path, const HubFile& file) : path_(path), file_(file) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail("cannot write {}: {}", path, std::strerror(errno));
  begin_hash();
  std::vector<std::byte> piece(kPiece);
  for (;;) {
    const ssize_t n = ::read(fd_, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read {}: {}", path, std::strerror(errno));
    if (n == 0) break;
    if (digest_) digest_->update({piece.data(), size_t(n)});
    size_ += uint64_t(n);
  }
  if (size_ > *file.size) clear();
}

PartialFile::~PartialFile() { ::close(fd_); }

void PartialFile::begin_hash() {
  if (file_.hash == HubFile::Hash::kNone) return;
  const bool git = file_.hash == HubFile::Hash::kGit;
  digest_.emplace(git ? Digest::Kind::kSha1 : Digest::Kind::kSha256);
  const std::string header = fmt::format("blob {}", *file_.size);
  if (git) digest_->update(std::as_bytes(std::span(header.c_str(), header.size() + 1)));
}

void PartialFile::append(std::span<const std::byte> bytes) {
  if (digest_) digest_->update(bytes);
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      fail("cannot write {}: {}; what is there stays, and running again goes on from it", path_,
           std::strerror(errno));
    }
    size_ += uint64_t(n);
    bytes = bytes.subspan(size_t(n));
  }
}

void PartialFile::clear() {
  if (::ftruncate(fd_, 0) != 0) fail("cannot write {}: {}", path_, std::strerror(errno));
  size_ = 0;
  begin_hash();
}

std::string PartialFile::fault() {
  if (size_ != *file_.size) return fmt::format("{} bytes instead of {}", size_, *file_.size);
  if (!digest_) return "";
  const std::string found = digest_->finish();
  if (found == file_.blob) return "";
  return fmt::format("{} {} instead of {}",
                     file_.hash == HubFile::Hash::kGit ? "git's SHA-1" : "SHA-256", found,
                     file_.blob);
}

void PartialFile::rename_to(const std::string& path) {
  if (::fsync(fd_) != 0 || ::rename(path_.c_str(), path.c_str()) != 0) {
    fail("cannot write {}: {}", path, std::strerror(errno));
  }
}

}  // namespace tessera::launch
