// Classes of characters that a regular expression may name, as the reference's engine has them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::launch {

/// The members, as PCRE2 writes them between brackets, of a general category, a script or a binary
/// property. Case, spaces, '_' and '-' of `name` do not count. None for a name that is not known.
std::optional<std::string> property_members(std::string_view name);

/// The same of a POSIX class, as "alpha".
std::optional<std::string> posix_members(std::string_view name);

/// Of `\s`, `\w`, `\d` and `\h`, given the letter; none for another letter.
std::optional<std::string> escape_members(char letter);

/// Of `\w` outside brackets, where it has a few more members, and of what `\b` looks for.
std::string lone_word_members();

}  // namespace tessera::launch
