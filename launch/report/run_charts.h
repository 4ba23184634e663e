// The charts of a report: which there are, and what each shows of every run.
#pragma once

#include <string>
#include <vector>

#include "launch/report/run_figures.h"
#include "launch/report/run_history.h"

namespace tessera::launch {

/// A run as the page has it; its colour is that of its place.
struct ReportedRun {
  const RunHistory* history;
  RunFigures figures;
  std::string name;  // of its own among the runs
};

/// The charts that have something to show, one after the other.
std::string run_charts_html(const std::vector<ReportedRun>& runs);

}  // namespace tessera::launch
