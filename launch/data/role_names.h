// The names that roles have in data sets, beside our own.
#pragma once

#include <string_view>

namespace tessera::launch {

/// A message of this role is a call of a function, which its content writes as JSON.
inline constexpr std::string_view kFunctionCall = "function_call";

/// system, user, assistant or tool, or kFunctionCall, by any of the names that dumps of
/// conversations use (human, gpt, observation and more); empty where the name is not known.
std::string_view common_role(std::string_view name);

}  // namespace tessera::launch
