#include "runtime/io/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "runtime/io/file.h"

namespace tessera::io {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hash_file(const std::string& path) {
  const ReadFile file(path);
  std::vector<std::byte> chunk(size_t{1} << 20);
  uint64_t hash = 0;
  for (uint64_t at = 0; at < file.size(); at += chunk.size()) {
    const size_t n = size_t(std::min<uint64_t>(chunk.size(), file.size() - at));
    file.read(at, {chunk.data(), n});
    hash = hash_bytes({chunk.data(), n}, hash);
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace tessera::io
