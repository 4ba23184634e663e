// A lock that dies with the process that holds it, however that ends: flock() on a file that stays
// where it is. Removing such a file would let two processes hold two files of one name.
#pragma once

#include <string>
#include <string_view>

namespace tessera::io {

class LockFile {
 public:
  enum class State {
    kHeld,         // by this object
    kTaken,        // by another one, in this process or elsewhere
    kUnsupported,  // the file system has no locks
  };

  /// Makes the file if need be and tries once. Error where it cannot be made or opened.
  explicit LockFile(const std::string& path);
  /// Unlocks, also for a child process that got the open file by fork().
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  State state() const { return state_; }
  /// Leaves a line for whoever finds the lock taken. A full disk may lose it.
  void write_holder(std::string_view text) const;
  /// What the holder has left: one printable line, perhaps empty.
  std::string holder() const;

 private:
  int fd_ = -1;
  State state_ = State::kUnsupported;
};

}  // namespace tessera::io
