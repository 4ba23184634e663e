// Texts of strangers for a person to look at: what would move the cursor, hide, or turn the order
// of letters is shown by a sign of its own.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch {

enum class Lines {
  kKeep,  // a line's end is ↵ and a line's end; a tab stays
  kOne,   // ↵ and ␉ alone
};

/// `text`, which may be of any bytes, as valid UTF-8 of printable characters. Control characters
/// become the pictures that Unicode has for them; those without one, invisible ones, and those that
/// reorder text become ⟨U+202E⟩; a byte that is no UTF-8 becomes ⟨FF⟩.
std::string visible(std::string_view text, Lines lines);

/// Columns of a terminal that `text`, which visible() gave in one line, takes.
size_t columns_of(std::string_view text);

}  // namespace tessera::launch
