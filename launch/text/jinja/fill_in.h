// Python's two ways to fill in a string: the operator % and str.format.
#pragma once

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

class Interpreter;
struct Arguments;

/// pattern % arguments.
Value percent_format(const Value& pattern, const Value& arguments, Budget& budget);
/// pattern.format(...).
Value brace_format(Interpreter& interpreter, const Value& pattern, const Arguments& arguments);

}  // namespace tessera::launch::jinja
