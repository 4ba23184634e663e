// SHA-256 and SHA-1 (FIPS 180-4), which name the files of the hub: those in its large storage by
// their SHA-256, all others as git names them. SHA-1 finds damage, not malice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tessera::launch {

class Digest {
 public:
  enum class Kind { kSha1, kSha256 };
  explicit Digest(Kind kind);

  void update(std::span<const std::byte> bytes);
  /// In small hexadecimal digits; ends the digest.
  std::string finish();

 private:
  void take_block(const std::byte* block);

  Kind kind_;
  std::array<uint32_t, 8> state_;
  std::array<std::byte, 64> block_;  // what does not fill one yet
  uint64_t length_ = 0;              // in bytes
};

}  // namespace tessera::launch
