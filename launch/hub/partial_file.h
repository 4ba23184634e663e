// A file while it is fetched: what is there stays if the process ends, and the next one goes on
// behind it. It is hashed as it grows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "launch/hub/digest.h"
#include "launch/hub/listing.h"

namespace tessera::launch {

class PartialFile {
 public:
  /// Opens or makes it, and reads what is there. `file`: what it becomes, with size and blob.
  PartialFile(const std::string& path, const HubFile& file);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  uint64_t size() const { return size_; }
  void append(std::span<const std::byte> bytes);
  /// Empties it.
  void clear();
  /// What is wrong with the content, now that all of it is there; empty where nothing is.
  std::string fault();
  /// Makes it durable and gives it its name.
  void rename_to(const std::string& path);

 private:
  void begin_hash();

  std::string path_;
  const HubFile& file_;
  int fd_ = -1;
  uint64_t size_ = 0;
  std::optional<Digest> digest_;  // empty where no hash is known
};

}  // namespace tessera::launch
