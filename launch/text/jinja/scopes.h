// Which variable a name means. Jinja2 compiles a template to Python functions: names are looked up
// when a scope begins, a scope that assigns to a name has a variable of its own, and macros see
// the variables around them as they are when called. This follows its rules exactly.
#pragma once

#include "launch/text/jinja/syntax.h"

namespace tessera::launch::jinja {

/// Gives each name of the program its slot, each scope its loads, each filter and test its
/// function. Failure with `line` as its place.
void resolve_names(Program& program, int& line);

}  // namespace tessera::launch::jinja
