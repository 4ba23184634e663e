// The content of `tessera data` as one JSON object; docs/data_command.md has its keys.
#pragma once

#include <string>

#include "launch/report/data_summary.h"

namespace tessera::launch {

std::string data_json(const DataSummary& data);

}  // namespace tessera::launch
