// Numbers and strings as a template, or Python's int and float, spell them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

struct NumberLiteral {
  Value value;
  size_t length = 0;
};

/// The number that `text`, which begins with a digit, begins with; a float where `may_be_float`.
/// Failure for an integer beyond 64 bits.
NumberLiteral read_number(std::string_view text, bool may_be_float);

/// What stands between a string's quotes, its escapes replaced. Failure for a broken escape.
std::string unescape(std::string_view text);

/// int(text, base), nothing where Python raises a ValueError. Failure beyond 64 bits.
std::optional<int64_t> parse_integer(std::string_view text, int64_t base);
/// float(text), nothing where Python raises a ValueError.
std::optional<double> parse_float(std::string_view text);

}  // namespace tessera::launch::jinja
