// format(value, spec): Python's little language for widths, signs and precisions.
#pragma once

#include <string>
#include <string_view>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

inline constexpr int kMaxPrecision = 1000;  // more digits than any double has

/// Failure for a spec that Python does not take for the value.
Text format_value(const Value& value, std::string_view spec, Budget& budget);

/// A finite number or not, as the types e f g E F G of Python and C print it, without its sign.
/// `keep_point`: "12." where nothing follows.
std::string float_digits(double number, char type, int precision, bool keep_point);

/// The digits of an integer without its sign, in the base of the type b o x X or d.
std::string integer_digits(int64_t number, char type);

}  // namespace tessera::launch::jinja
