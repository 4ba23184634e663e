#include "launch/config/conversion.h"

#include "launch/config/flags.h"
#include "launch/config/settings.h"
#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

/// "run.yml:12", after the spelling where it is not ours.
std::string origin_of(const Flag& flag, const Given& given) {
  const bool ours = given.spelling == flag.name;
  return (ours ? "" : given.spelling + ", ") + given.place.text();
}

void append_key(std::string& out, const Flag& flag, const Config& config, const Given& given) {
  const std::string value = flag.write(config);
  if (value == "null") return;  // such as special_tokens of a pad_token alone
  const std::string origin = origin_of(flag, given);
  if (value.starts_with('\n')) {  // a list under its key
    out += fmt::format("{}:  # {}{}\n", flag.name, origin, value);
  } else {
    out += fmt::format("{}: {}  # {}\n", flag.name, value, origin);
  }
}

void append_lines(std::string& out, std::string_view title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out += fmt::format("{}# {}\n", out.empty() ? "" : "\n", title);
  for (const std::string& line : lines) out += fmt::format("# - {}\n", line);
}

}  // namespace

Conversion convert_config(const std::string& text, const std::string& source) {
  Faults faults;
  const Settings settings = read_settings(text, source, {}, faults);
  if (settings.empty() && faults.empty() && faults.notes().empty()) {
    fail_usage("{}: nothing is set in it; expected the 'key: value' lines of a config", source);
  }
  const Config config = resolve(settings, source, faults);
  check_rules(config, settings, faults);
  check_supported(config, settings, faults);
  Conversion made;
  made.lost = faults.lines();
  for (const FlagGroup& group : flag_groups()) {
    std::string keys;
    for (const Flag& flag : group.flags) {
      const auto given = settings.find(flag.name);
      if (given == settings.end() || faults.doubts(flag.name)) continue;
      append_key(keys, flag, config, given->second);
    }
    if (keys.empty()) continue;
    made.text += fmt::format("{}# {}\n{}", made.text.empty() ? "" : "\n", group.title, keys);
  }
  append_lines(made.text, "What became of the other keys:", faults.notes());
  append_lines(made.text, "Lost, which would change the result:", made.lost);
  return made;
}

}  // namespace tessera::launch
