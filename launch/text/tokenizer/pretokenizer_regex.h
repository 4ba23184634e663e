// Regular expressions as tokenizer.json has them, in Oniguruma's syntax, translated for PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch {

/// A PCRE2 pattern, for the options UTF, UCP and a line feed as newline, that finds what `regex`
/// finds in Oniguruma. Error, beginning with `where` and naming the construct, when that is not
/// known of all of it. Only the groups' matches are lost: nothing captures.
std::string translate_regex(std::string_view regex, const std::string& where);

}  // namespace tessera::launch
