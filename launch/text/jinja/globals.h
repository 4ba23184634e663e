// The functions that a template finds without being given them.
#pragma once

#include <optional>
#include <string_view>

#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

/// range, dict, namespace, cycler, joiner, lipsum, raise_exception, strftime_now.
std::optional<Value> global(std::string_view name);

}  // namespace tessera::launch::jinja
