// Why the hub does not give what was asked for, told apart as its error codes do.
#pragma once

#include <string>
#include <string_view>

#include "launch/hub/http.h"
#include "launch/hub/hub.h"

namespace tessera::launch {

/// One line with the cure, for an answer that has no content. `file`: what was asked for; empty for
/// the repository. The token does not stand in it.
std::string describe_refusal(const HubSettings& settings, const HubName& name,
                             const HttpAnswer& answer, std::string_view file = "");

/// The repository does not have the revision, so an older snapshot would not be it.
bool is_revision_missing(const HttpAnswer& answer);

}  // namespace tessera::launch
