#include "launch/report/run_settings.h"

#include <algorithm>
#include <map>

#include "launch/config/flags.h"

namespace tessera::launch {
namespace {

constexpr size_t kMostKeys = 1000;

/// Keys of the run itself, not of what it does.
bool names_run(std::string_view key) {
  return key == "output_dir" || key == "overwrite_output_dir" || key == "resume_from_checkpoint";
}

std::string_view without_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \r");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \r") + 1 - begin);
}

/// As dump_config() writes it.
std::string default_of(const Flag& flag) {
  const std::string value = flag.write(Config{});
  return value.starts_with('\n') ? value.substr(1) : value;
}

}  // namespace

std::vector<RunSetting> read_settings(std::string_view text) {
  std::vector<RunSetting> settings;
  while (!text.empty() && settings.size() < kMostKeys) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (without_blanks(line).empty() || line[0] == '#') continue;
    const size_t colon = line.find(':');
    const bool begins = line[0] != ' ' && line[0] != '-' && colon != line.npos;
    if (begins) {
      settings.push_back({std::string(line.substr(0, colon)),
                          std::string(without_blanks(line.substr(colon + 1)))});
    } else if (!settings.empty()) {
      std::string& value = settings.back().value;
      if (!value.empty()) value += '\n';
      value += line;
    }
  }
  return settings;
}

std::vector<RunSetting> chosen_settings(const std::vector<RunSetting>& settings) {
  std::vector<RunSetting> chosen;
  for (const RunSetting& setting : settings) {
    if (names_run(setting.key)) continue;
    const Flag* flag = find_flag(setting.key);
    const bool ruled_out = setting.value == "null";
    if (!flag || (!ruled_out && setting.value != default_of(*flag))) chosen.push_back(setting);
  }
  return chosen;
}

std::vector<SettingDifference> setting_differences(
    const std::vector<const std::vector<RunSetting>*>& runs) {
  std::vector<SettingDifference> all;
  std::map<std::string_view, size_t> places;
  for (size_t run = 0; run < runs.size(); ++run) {
    for (const RunSetting& setting : *runs[run]) {
      if (setting.key == "output_dir") continue;
      const auto [place, is_new] = places.emplace(setting.key, all.size());
      if (is_new) all.push_back({setting.key, std::vector<std::string>(runs.size())});
      all[place->second].values[run] = setting.value;
    }
  }
  std::erase_if(all, [](const SettingDifference& difference) {
    const auto& values = difference.values;
    return std::ranges::count(values, values.front()) == std::ptrdiff_t(values.size());
  });
  return all;
}

}  // namespace tessera::launch
