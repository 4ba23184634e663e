// Pages: texts of strangers in them, and their files.
#pragma once

#include <string>
#include <string_view>

#include "launch/report/visible_text.h"

namespace tessera::launch {

/// `text`, which may be of any bytes, as visible() shows it, for an element or for an attribute in
/// double quotes.
std::string escaped(std::string_view text, Lines lines = Lines::kOne);

/// The first line of every page.
inline constexpr std::string_view kPageStart = "<!DOCTYPE html>\n";

/// Writes a page, over an older one if there is one. Error (usage) where another kind of file has
/// that name.
void write_page(const std::string& path, std::string_view page);

}  // namespace tessera::launch
