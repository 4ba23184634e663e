// How the pages of reports look, and the script that shows values under the pointer.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch {

/// Runs whose lines can be told apart: by colour, also for the colour-blind, and by dashes.
inline constexpr size_t kMostRuns = 8;

extern const std::string_view kRunPageStyle;
/// Reads the attributes that chart_html() writes. The page is whole without it.
extern const std::string_view kRunPageScript;
/// SHA-256 of the script in base64: the page's policy lets no other script run.
extern const std::string_view kRunPageScriptHash;

/// The page up to its body, with the style.
std::string page_head(std::string_view title);
/// What ends its body: the script.
std::string page_end();

}  // namespace tessera::launch
