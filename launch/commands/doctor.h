// `tessera doctor`: what this machine has, what is missing, and what brings it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/machine/device.h"
#include "launch/machine/finding.h"

namespace tessera::launch {

/// What this process has, with `gpus`: found at once, without a test.
std::vector<Finding> find_here(const Gpus& gpus);
/// The same as a text of lines.
std::string diagnose(const Gpus& gpus);

/// An aligned line for each finding, and one for each cure.
std::string to_text(const std::vector<Finding>& findings);
/// {"version", "can_train", "checks": [{"name", "text", "state", "cure"}]}; `state` is "ok",
/// "lacking" or "broken".
std::string to_json(const std::vector<Finding>& findings);
/// Whether `train` can run: nothing is kBroken.
bool can_train(const std::vector<Finding>& findings);
/// The findings as a block for a bug report, without names of this machine and its user.
std::string to_report(const std::vector<Finding>& findings);

}  // namespace tessera::launch
