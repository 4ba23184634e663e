// GPT-2's printable stand-ins for bytes: what byte-level vocabularies are spelt in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

/// The stand-in of a byte, as UTF-8 of one or two bytes.
const std::string& byte_stand_in(uint8_t byte);
/// The byte a stand-in stands for.
std::optional<uint8_t> byte_of_stand_in(char32_t point);

/// Every byte of `text` as its stand-in, which comes from where the byte came from.
AlignedText spell_bytes(AlignedView text);

}  // namespace tessera::launch
