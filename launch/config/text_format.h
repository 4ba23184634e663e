// Texts with places to fill in, such as "Question: {instruction}\n", as Python's str.format has
// them: {name} is a place, {{ and }} are braces.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace tessera::launch {

/// A place and what stands there.
struct Placed {
  std::string_view name;
  std::string_view text;
};

/// Why `format` cannot be filled in where it may have the places `names`, for a message; empty
/// where it can.
std::string format_fault(std::string_view format, std::span<const std::string_view> names);

/// `format` with its places filled in. A place that is not among `texts` becomes nothing.
std::string filled(std::string_view format, std::span<const Placed> texts);

}  // namespace tessera::launch
