// What a search has found, as a table for a terminal and as JSON (search.json; docs/search.md has
// its keys).
#pragma once

#include <string>
#include <vector>

#include "launch/report/candidate_comparison.h"

namespace tessera::launch {

/// A line for each candidate under one of titles.
std::string search_table(const std::vector<ComparedCandidate>& candidates,
                         const Comparison& comparison);

std::string search_json(const std::vector<ComparedCandidate>& candidates,
                        const Comparison& comparison, double tolerance);

}  // namespace tessera::launch
