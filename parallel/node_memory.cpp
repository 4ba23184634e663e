#include "parallel/node_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

constexpr size_t kHeader = 4096;  // holds the nonce and keeps the region aligned

[[noreturn]] void refused(size_t bytes, const char* what) {
  fail("shared memory of {} bytes: {}: {}", bytes, what, std::strerror(errno));
}

}  // namespace

void MemoryMapping::Unmap::operator()(void* begin) const { munmap(begin, length); }

MemoryMapping::MemoryMapping(int descriptor, size_t bytes, bool writable) {
  const int access = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* whole = mmap(nullptr, kHeader + bytes, access, MAP_SHARED, descriptor, 0);
  if (whole == MAP_FAILED) refused(bytes, "cannot be mapped");
  whole_ = {whole, Unmap{kHeader + bytes}};
  bytes_ = {static_cast<std::byte*>(whole) + kHeader, bytes};
}

void MemoryMapping::let_go(size_t begin, size_t bytes) const {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  const size_t end = begin + bytes;
  begin = begin / page * page;
  // Pages at the edges go too: they hold nothing of this process's own.
  madvise(bytes_.data() + begin, end - begin, MADV_DONTNEED);
}

NodeMemory::NodeMemory(size_t bytes) : ticket_{getpid(), -1, bytes, {}} {
  const int descriptor = memfd_create("tessera", MFD_CLOEXEC);
  if (descriptor < 0) refused(bytes, "cannot be made");
  ticket_.descriptor = descriptor;
  try {
    if (ftruncate(descriptor, off_t(kHeader + bytes)) != 0) refused(bytes, "cannot be sized");
    if (getrandom(ticket_.nonce, sizeof(ticket_.nonce), 0) != sizeof(ticket_.nonce)) {
      refused(bytes, "no random bytes");
    }
    if (pwrite(descriptor, ticket_.nonce, sizeof(ticket_.nonce), 0) != sizeof(ticket_.nonce)) {
      refused(bytes, "cannot be written");
    }
    mapping_ = MemoryMapping(descriptor, bytes, true);
  } catch (...) {
    close();
    throw;
  }
}

NodeMemory::NodeMemory(NodeMemory&& other) noexcept
    : mapping_(std::move(other.mapping_)), ticket_(other.ticket_) {
  other.ticket_.descriptor = -1;
}

NodeMemory::~NodeMemory() { close(); }

void NodeMemory::close() {
  if (ticket_.descriptor >= 0) ::close(int(ticket_.descriptor));
  ticket_.descriptor = -1;
}

std::optional<MemoryMapping> map_peer_memory(const MemoryTicket& ticket) {
  // The link leads to the file itself, though it has no name. The process number may mean another
  // process here (a container of its own), hence the nonce.
  const std::string path = fmt::format("/proc/{}/fd/{}", ticket.process, ticket.descriptor);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return std::nullopt;
  uint64_t nonce[2] = {};
  std::optional<MemoryMapping> mapping;
  if (pread(descriptor, nonce, sizeof(nonce), 0) == sizeof(nonce) &&
      std::memcmp(nonce, ticket.nonce, sizeof(nonce)) == 0) {
    try {
      mapping.emplace(descriptor, ticket.bytes, false);
    } catch (...) {
      ::close(descriptor);
      throw;
    }
  }
  ::close(descriptor);
  return mapping;
}

}  // namespace tessera::parallel
