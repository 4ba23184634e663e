// The settings of runs, as config.resolved.yml has them: to show, and to compare.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

struct RunSetting {
  std::string key;
  std::string value;  // as the file has it: one line, or several of a list

  bool operator==(const RunSetting&) const = default;
};

/// The keys of the first column, in order, each with all lines down to the next. Comments and empty
/// lines between them are left out. Takes any text.
std::vector<RunSetting> read_settings(std::string_view text);

/// Those whose value is not this version's default, without those that only name files.
std::vector<RunSetting> chosen_settings(const std::vector<RunSetting>& settings);

/// A key in which runs differ, with the value of each run; empty where a run does not have the key.
struct SettingDifference {
  std::string key;
  std::vector<std::string> values;
};

/// In the order of the first run that has the key. output_dir is the run itself, and left out.
std::vector<SettingDifference> setting_differences(
    const std::vector<const std::vector<RunSetting>*>& runs);

}  // namespace tessera::launch
