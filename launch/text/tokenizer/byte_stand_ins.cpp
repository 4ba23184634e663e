#include "launch/text/tokenizer/byte_stand_ins.h"

#include <array>
#include <unordered_map>

namespace tessera::launch {
namespace {

struct StandIns {
  StandIns() {
    // GPT-2's bytes_to_unicode: printable Latin-1 stands for itself, the rest for U+0100 and up.
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (0x21 <= byte && byte <= 0x7e) || (0xa1 <= byte && byte <= 0xac) || byte >= 0xae;
      const char32_t point = printable ? char32_t(byte) : next++;
      append_utf8(spelling[size_t(byte)], point);
      byte_of[point] = uint8_t(byte);
    }
  }
  std::array<std::string, 256> spelling;
  std::unordered_map<char32_t, uint8_t> byte_of;
};

const StandIns& stand_ins() {
  static const StandIns table;
  return table;
}

}  // namespace

const std::string& byte_stand_in(uint8_t byte) { return stand_ins().spelling[byte]; }

std::optional<uint8_t> byte_of_stand_in(char32_t point) {
  const auto found = stand_ins().byte_of.find(point);
  if (found == stand_ins().byte_of.end()) return std::nullopt;
  return found->second;
}

AlignedText spell_bytes(AlignedView text) {
  AlignedText spelt;
  for (size_t i = 0; i < text.text.size(); ++i) {
    spelt.append(byte_stand_in(uint8_t(text.text[i])), text.origin[i]);
  }
  return spelt;
}

}  // namespace tessera::launch
