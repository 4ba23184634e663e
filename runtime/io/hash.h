// XXH3 (64 bits): the hash that names what a run was made from and seals its checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tessera::io {

/// The hash of `bytes`, chained from `seed`.
uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed);
/// The hash of a file's content, chained over pieces of 1 MiB, as 16 hexadecimal digits.
std::string hash_file(const std::string& path);

}  // namespace tessera::io
