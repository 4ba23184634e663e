// lr_scheduler_kwargs: the arguments of the scheduler that lr_scheduler names, by transformers'
// names. Which there are, and which scheduler takes them, is the table of optim/schedule.h.
#pragma once

#include "launch/config/flags_types.h"
#include "launch/config/settings.h"
#include "optim/schedule.h"

namespace tessera::launch {

struct SchedulerArgumentsType {
  std::optional<optim::SchedulerArguments> read(const Setting& setting) const;
  std::string write(const optim::SchedulerArguments& value) const;
  std::string describe() const { return "a map, such as {num_cycles: 3}"; }
};

/// Tells of arguments that the scheduler does not take, and of those that it needs, where they
/// stand.
void check_scheduler(const Config& config, const Settings& settings, Faults& faults);

}  // namespace tessera::launch
