#include "launch/text/tokenizer/base64.h"

#include <array>
#include <cstdint>

namespace tessera::launch {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> make_values() {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) values[uint8_t(kDigits[i])] = int8_t(i);
  return values;
}
constexpr std::array<int8_t, 256> kValues = make_values();

}  // namespace

std::string base64_of(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const auto byte = [&](size_t i) {
      return at + i < bytes.size() ? uint32_t(uint8_t(bytes[at + i])) : 0u;
    };
    const uint32_t three = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (size_t i = 0; i < 4; ++i) {
      const bool padding = at + i > bytes.size();
      text += padding ? '=' : kDigits[three >> (18 - 6 * i) & 63];
    }
  }
  return text;
}

std::optional<std::string> bytes_of_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    uint32_t three = 0;
    for (size_t i = 0; i < 4; ++i) {
      const bool is_padding = at + i >= text.size() - padding;
      const int8_t value = is_padding ? int8_t{0} : kValues[uint8_t(text[at + i])];
      if (value < 0) return std::nullopt;
      three = three << 6 | uint32_t(value);
    }
    for (const int shift : {16, 8, 0}) bytes += char(three >> shift & 255);
  }
  for (size_t i = 0; i < padding; ++i) {
    if (bytes.back() != 0) return std::nullopt;  // bits that no encoder sets
    bytes.pop_back();
  }
  return bytes;
}

}  // namespace tessera::launch
