// Values as text: Python's str and repr, and JSON as json.dumps writes it. Strings keep their
// marks, escaped characters included.
#pragma once

#include <optional>
#include <string>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

/// The shortest digits that give the number back, as repr(float) writes them.
std::string float_repr(double number);

Text str_of(const Value& value, Budget& budget);
Text repr_of(const Value& value, Budget& budget);
/// Like repr_of, with escapes for all that is not ASCII.
Text ascii_of(const Value& value, Budget& budget);

/// The keyword arguments of json.dumps.
struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<Text> indent;
  Text item_separator = ", ";
  Text key_separator = ": ";
  bool sort_keys = false;
};

/// Failure for what JSON does not know.
Text json_of(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace tessera::launch::jinja
