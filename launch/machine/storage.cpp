#include "launch/machine/storage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <span>

#include "launch/console/progress.h"
#include "launch/machine/signals.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/lock_file.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using Grade = Finding::Grade;

/// The kind of file system, by the numbers of statfs(2).
std::string kind_of(const std::string& folder) {
  struct statfs fs {};
  if (::statfs(folder.c_str(), &fs) != 0) return "";
  static const std::map<uint64_t, std::string> kNames = {
      {0xef53, "ext4"},      {0x58465342, "xfs"},     {0x9123683e, "btrfs"}, {0x2fc12fc1, "zfs"},
      {0x01021994, "tmpfs"}, {0x794c7630, "overlay"}, {0x6969, "nfs"},       {0x0bd00bd0, "lustre"},
      {0x65735546, "fuse"},  {0x47504653, "gpfs"},    {0x00c36400, "ceph"},  {0xff534d42, "cifs"},
      {0xfe534d42, "smb2"},  {0x19830326, "beegfs"},  {0x01021997, "9p"}};
  const auto found = kNames.find(uint64_t(fs.f_type) & 0xffffffffu);
  return found == kNames.end() ? fmt::format("file system 0x{:x}", uint64_t(fs.f_type))
                               : found->second;
}

std::optional<int64_t> free_bytes_of(const std::string& folder) {
  struct statvfs fs {};
  if (::statvfs(folder.c_str(), &fs) != 0) return std::nullopt;
  return int64_t(uint64_t(fs.f_bavail) * fs.f_frsize);
}

/// A file without a name on the disk of a folder.
class NamelessFile {
 public:
  explicit NamelessFile(const std::string& folder) {
    std::string name = folder + "/.tessera-doctor.XXXXXX";
    fd_ = ::mkstemp(name.data());
    if (fd_ < 0) fail("{}", std::strerror(errno));
    ::unlink(name.c_str());
  }
  ~NamelessFile() { ::close(fd_); }
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  void write(std::span<const char> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("{}", std::strerror(errno));
      bytes = bytes.subspan(size_t(n));
    }
  }
  void sync() {
    if (::fsync(fd_) != 0) fail("{}", std::strerror(errno));
  }

 private:
  int fd_;
};

/// Seconds that `bytes` take to be on the disk. Of other content everywhere, so that no file system
/// packs them.
double time_writing(const std::string& folder, int64_t bytes) {
  std::vector<char> piece(size_t{1} << 20);
  uint64_t state = 1;
  for (size_t i = 0; i + 8 <= piece.size(); i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(&piece[i], &state, 8);
  }
  NamelessFile file(folder);
  const Stopwatch watch;
  for (int64_t left = bytes; left > 0; left -= int64_t(piece.size())) {
    if (StopSignals::received()) fail("stopped by a signal");
    std::memcpy(piece.data(), &left, sizeof left);
    file.write(std::span(piece).first(size_t(std::min<int64_t>(left, int64_t(piece.size())))));
  }
  file.sync();
  return watch.seconds();
}

Finding check_writing(const std::string& folder, int64_t bytes) {
  const std::optional<int64_t> free = free_bytes_of(folder);
  // Never the last room of a disk.
  const int64_t written = std::min(bytes, free.value_or(bytes) / 2);
  const double seconds = time_writing(folder, std::max<int64_t>(written, 1));
  Finding finding{"disk", fmt::format("{}, {} free, writes {}/s", kind_of(folder),
                                      format_bytes(free.value_or(0)),
                                      format_bytes(int64_t(double(written) / seconds)))};
  if (written < bytes) {
    finding.grade = Grade::kLacking;
    finding.cure = "make room, or give another folder as output_dir: checkpoints need it";
  }
  return finding;
}

Finding check_locks(const std::string& folder) {
  std::string place = folder + "/.tessera-doctor.XXXXXX";
  if (!::mkdtemp(place.data())) fail("{}", std::strerror(errno));
  Finding finding{"", "locks work: a second run in a folder is refused"};
  try {
    const io::LockFile first(place + "/run.lock"), second(place + "/run.lock");
    if (first.state() != io::LockFile::State::kHeld ||
        second.state() != io::LockFile::State::kTaken) {
      finding.text = "no locks: two runs in one folder would not see each other";
      finding.grade = Grade::kLacking;
      finding.cure = "give each run an output_dir of its own; on Lustre, mount with -o flock";
    }
  } catch (const Error& error) {
    finding.text = fmt::format("no locks: {}", error.what());
    finding.grade = Grade::kLacking;
  }
  io::remove_all(place);
  return finding;
}

}  // namespace

std::vector<Finding> check_storage(const std::string& folder, int64_t bytes, bool required) {
  const StopSignals signals;
  std::vector<Finding> findings;
  try {
    if (!io::is_folder(folder)) {
      fail("{}", io::exists(folder) ? "it is a file" : "there is no such folder");
    }
    findings.push_back(check_writing(folder, bytes));
    findings.push_back(check_locks(folder));
  } catch (const Error& error) {
    if (StopSignals::received()) throw;
    findings.push_back({"disk",
                        fmt::format("cannot write to {}: {}", io::printable(folder), error.what()),
                        required ? Grade::kBroken : Grade::kLacking,
                        "tessera doctor --output_dir DIR, with a folder that you can write to"});
  }
  return findings;
}

Finding check_shared_memory(const std::string& folder) {
  struct statvfs fs {};
  if (::statvfs(folder.c_str(), &fs) != 0) {
    return {"shm", fmt::format("{}: {}", folder, std::strerror(errno)), Grade::kLacking,
            fmt::format("mount -t tmpfs tmpfs {}", folder)};
  }
  const auto size = int64_t(uint64_t(fs.f_blocks) * fs.f_frsize);
  const auto free = int64_t(uint64_t(fs.f_bavail) * fs.f_frsize);
  Finding finding{
      "shm", fmt::format("{} of {} free in {}", format_bytes(free), format_bytes(size), folder)};
  constexpr int64_t kEnough = int64_t{128}
                              << 20;  // more than the 64 MiB that containers start with
  if (free < kEnough) {
    finding.grade = Grade::kLacking;
    finding.text += ": too little for several ranks";
    finding.cure =
        fmt::format("docker run --shm-size=1g, or as root: mount -o remount,size=1g {}", folder);
  }
  return finding;
}

}  // namespace tessera::launch
