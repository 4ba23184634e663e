// Jinja2's tests, the words after "is".
#pragma once

#include <string_view>

#include "launch/text/jinja/syntax.h"

namespace tessera::launch::jinja {

/// Null when there is none.
TestBody find_test(std::string_view name);
/// Failure: there is no such test.
[[noreturn]] void fail_no_test(std::string_view name);

}  // namespace tessera::launch::jinja
