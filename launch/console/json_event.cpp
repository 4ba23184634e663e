#include "launch/console/json_event.h"

#include "launch/console/progress.h"
#include "runtime/io/json.h"

namespace tessera::launch {

std::string json_event(std::string_view name, const nlohmann::ordered_json& members) {
  nlohmann::ordered_json line = {{"time", utc_time()}, {"event", name}};
  line.update(members);
  return io::json_text(line);
}

}  // namespace tessera::launch
