#include "launch/hub/find_model.h"

#include <algorithm>
#include <initializer_list>

#include "launch/hub/hub.h"

namespace tessera::launch {

std::string find_model(const std::string& name, Console& console) {
  const auto on_hub = hub_name(name, HubKind::kModel);
  return on_hub ? hub_model(*on_hub, console) : name;
}

std::string find_model_without_weights(const std::string& name, Console& console) {
  const auto on_hub = hub_name(name, HubKind::kModel);
  if (!on_hub) return name;
  if (!on_hub->file.empty()) return hub_model(*on_hub, console);  // one file holds it all
  const auto is_wanted = [](std::string_view file) {
    const auto ends = [&](std::string_view ending) { return file.ends_with(ending); };
    return file.find('/') == file.npos &&
           std::ranges::any_of(std::initializer_list<std::string_view>{".json", ".jinja", ".model",
                                                                       ".tiktoken", ".v3", ".txt"},
                               ends);
  };
  return hub_snapshot(*on_hub, is_wanted, console);
}

}  // namespace tessera::launch
