// Files: bounded whole reads, positioned reads of regular files, durable atomic writes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tessera::io {

/// The whole file; Error if it is missing, not a regular file, or larger than `max_bytes`.
std::string read_file(const std::string& path, size_t max_bytes);

/// A regular file opened for positioned reads; its size is taken once, at opening.
class ReadFile {
 public:
  explicit ReadFile(const std::string& path);
  ~ReadFile();
  ReadFile(ReadFile&& other) noexcept;
  ReadFile& operator=(ReadFile&& other) noexcept;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  /// Fills `out` from `offset`; Error when the file is shorter. Pages read are dropped from this
  /// process at once (no mmap), so resident memory does not grow with the file.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Writes to a temporary file beside `path`; commit() makes it durable (fsync, rename, fsync of the
/// folder) and visible. Destroyed without commit(), it leaves nothing behind. Every failed write,
/// sync or close throws Error naming the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
};

/// A whole file through AtomicFile.
void write_file(const std::string& path, std::string_view content);

/// Gives the folder `from` the name `to`. A folder that has that name is removed, in one step where
/// the file system can swap two names, so that there is always a whole folder of that name.
void replace_folder(const std::string& from, const std::string& to);

/// fsync of a folder, so that a rename inside it survives a power loss.
void sync_folder(const std::string& path);

}  // namespace tessera::io
