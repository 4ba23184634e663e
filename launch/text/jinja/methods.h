// The methods and attributes of Python's types that a template may use.
#pragma once

#include <optional>
#include <string_view>

#include "launch/text/jinja/objects.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

/// A method of the value's type that the sandbox lets through, or null.
MethodBody find_method(const Value& self, std::string_view name);
MethodBody find_string_method(std::string_view name);

/// What Python's getattr gives, a bound method included, as far as the sandbox lets it through:
/// undefined for what changes a list or dict. Nothing when there is no such attribute.
std::optional<Value> find_attribute(const Value& self, std::string_view name);

}  // namespace tessera::launch::jinja
