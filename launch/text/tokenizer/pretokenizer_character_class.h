// Character classes of a regular expression, as [^a-z\p{L}&&[^x]], translated for PCRE2.
#pragma once

#include <string>

#include "launch/text/tokenizer/pretokenizer_regex_reader.h"

namespace tessera::launch {

/// Takes the class that `in` stands at, and returns a PCRE2 expression that matches one character
/// of it.
std::string translate_character_class(RegexReader& in, bool caseless);

}  // namespace tessera::launch
