// One file of pages that nobody else sees: it has no name, so that nothing is left behind however
// the program ends. Its room is taken when it is made: a full disk shows then and not hours later.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tessera::optim {

class PageFile {
 public:
  /// A file of `bytes` zeros in an existing folder, with mode 0600. Error that names the folder
  /// where it cannot be made or there is no room.
  PageFile(const std::string& folder, uint64_t bytes);
  ~PageFile();
  PageFile(const PageFile&) = delete;
  PageFile& operator=(const PageFile&) = delete;

  /// Bytes the file has.
  uint64_t size() const;
  /// Error that names the folder where the disk fails.
  void read(uint64_t offset, std::span<std::byte> into) const;
  void write(uint64_t offset, std::span<const std::byte> bytes);

 private:
  std::string folder_;
  int fd_ = -1;
};

}  // namespace tessera::optim
