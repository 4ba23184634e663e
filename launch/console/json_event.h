// The lines for programs that watch a run (docs/training.md, log_format).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tessera::launch {

/// {"time": ..., "event": NAME} and what `members`, an object, holds, on one line without its end.
std::string json_event(std::string_view name, const nlohmann::ordered_json& members);

}  // namespace tessera::launch
