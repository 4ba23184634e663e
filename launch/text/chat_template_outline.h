// A Jinja chat template reduced to what it does, so that two texts that differ in white space,
// quotes or spelling are recognised as one. Reading only: nothing is evaluated.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

/// In order, statements as they are, outputs of a text as "text X" and of an expression as "out X":
/// "a + b" gives two outputs, and texts side by side one. Subscripts by name are spelt with a dot,
/// and the white space that Hugging Face's settings (trim_blocks, lstrip_blocks) remove is gone.
/// Nothing when `jinja` is not well formed, or longer than any template worth knowing.
inline constexpr size_t kLongestTemplate = 64 << 10;
std::optional<std::vector<std::string>> outline_of(std::string_view jinja);

}  // namespace tessera::launch
