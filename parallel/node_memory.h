// Memory that processes of one host share: anonymous files, so that nothing is left behind however
// a process ends and no size of /dev/shm limits it. The owner writes; a peer that was handed the
// ticket maps the same pages for reading. A mapping lives as long as its object, on either side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace tessera::parallel {

/// Tells a peer where to find a region; plain bytes, made to be sent.
struct MemoryTicket {
  int64_t process;
  int64_t descriptor;
  uint64_t bytes;
  uint64_t nonce[2];  // also in the region: the peer's proof that it opened the right file
};

class MemoryMapping {
 public:
  MemoryMapping() = default;
  /// `bytes` after the header page of the file; Error when the system refuses.
  MemoryMapping(int descriptor, size_t bytes, bool writable);
  std::span<std::byte> bytes() const { return bytes_; }
  /// Takes the pages of a part out of this process until they are touched again.
  void let_go(size_t begin, size_t bytes) const;

 private:
  struct Unmap {
    size_t length;
    void operator()(void* begin) const;
  };
  std::unique_ptr<void, Unmap> whole_{nullptr, {0}};
  std::span<std::byte> bytes_;
};

/// The owner's side.
class NodeMemory {
 public:
  /// Zero-filled, aligned to 4096 bytes; zero bytes are allowed.
  explicit NodeMemory(size_t bytes);
  NodeMemory(NodeMemory&& other) noexcept;
  NodeMemory& operator=(NodeMemory&&) = delete;
  ~NodeMemory();

  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  /// Opens the region to peers until close().
  MemoryTicket ticket() const { return ticket_; }
  void close();

 private:
  MemoryMapping mapping_;
  MemoryTicket ticket_;
};

/// A peer's side: the region, for reading; nothing where this process cannot reach it.
std::optional<MemoryMapping> map_peer_memory(const MemoryTicket& ticket);

}  // namespace tessera::parallel
