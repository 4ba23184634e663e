// Texts of strangers in a page.
#pragma once

#include <string>
#include <string_view>

#include "launch/report/visible_text.h"

namespace tessera::launch {

/// `text`, which may be of any bytes, as visible() shows it, for an element or for an attribute in
/// double quotes.
std::string escaped(std::string_view text, Lines lines = Lines::kOne);

}  // namespace tessera::launch
