// The content of `tessera data` as one page that needs nothing beside it: no script, no network.
#pragma once

#include <string>

#include "launch/report/data_summary.h"

namespace tessera::launch {

/// Every text is escaped; what visible() shows by signs is so here, too.
std::string data_html(const DataSummary& data);

}  // namespace tessera::launch
