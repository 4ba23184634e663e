#include "launch/console/json_event.h"

#include "launch/console/progress.h"

namespace tessera::launch {

std::string json_event(std::string_view name, const nlohmann::ordered_json& members) {
  nlohmann::ordered_json line = {{"time", utc_time()}, {"event", name}};
  line.update(members);
  // Texts of strangers may not be UTF-8.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace tessera::launch
