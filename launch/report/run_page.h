// The report on runs as one page that needs nothing beside it: curves, evaluations, memory against
// the plan, samples, settings and their differences, data. No network; one script, which only shows
// values under the pointer.
#pragma once

#include <string>
#include <vector>

#include "launch/report/run_history.h"

namespace tessera::launch {

/// `now` is the time of the report, as the page shows it. Every text is escaped. At most kMostRuns
/// (launch/report/run_page_look.h).
std::string run_page_html(const std::vector<RunHistory>& runs, const std::string& now);

}  // namespace tessera::launch
