// What a search has found, as one page that needs nothing beside it: the losses of the candidates
// as a chart, and a table. It looks as the report on runs does.
#pragma once

#include <string>
#include <vector>

#include "launch/report/candidate_comparison.h"

namespace tessera::launch {

/// `folder` is that of the search, as the page shows it. Every text is escaped.
std::string search_page_html(const std::vector<ComparedCandidate>& candidates,
                             const Comparison& comparison, double tolerance,
                             const std::string& folder);

}  // namespace tessera::launch
