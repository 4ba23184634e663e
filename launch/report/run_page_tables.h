// The parts of the report on runs that are tables and texts. Each is empty where the runs have
// nothing to show in it.
#pragma once

#include <string>
#include <vector>

#include "launch/report/run_charts.h"

namespace tessera::launch {

std::string evaluations_section(const std::vector<ReportedRun>& runs);
/// The parts of the plan, and the most that was in use.
std::string memory_section(const std::vector<ReportedRun>& runs);
/// What the model wrote while it was trained, by prompt.
std::string samples_section(const std::vector<ReportedRun>& runs);
/// Of one run the settings that are not the default; of several those in which they differ. All
/// settings behind.
std::string settings_section(const std::vector<ReportedRun>& runs);
/// The run in lines of its own, and its data sets.
std::string data_section(const std::vector<ReportedRun>& runs);
/// What could not be read.
std::string notes_section(const std::vector<ReportedRun>& runs);

}  // namespace tessera::launch
