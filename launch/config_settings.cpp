#include "launch/config_settings.h"

#include <charconv>
#include <set>

#include "launch/flags.h"
#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

bool asks_for_nothing(const ForeignKey& foreign, const YamlNode& value) {
  if (value.kind == YamlNode::Kind::kNull) return true;
  if (value.kind != YamlNode::Kind::kScalar) return false;
  if (value.text.empty() || std::ranges::count(foreign.harmless, value.text) > 0) return true;
  const bool wanted = std::ranges::count(foreign.harmless, "true") > 0;
  return parse_bool(value.text) == wanted;
}

/// The flag of `key`; null for a foreign key with a value that asks for nothing.
const Flag* flag_of(std::string_view key, const Place& place, const YamlNode& value) {
  if (const Flag* flag = find_flag(key)) return flag;
  if (const ForeignKey* foreign = find_foreign_key(key)) {
    if (asks_for_nothing(*foreign, value)) return nullptr;
    fail_usage("{}: {} is not a key of this program: {}", place.text(), key, foreign->cure);
  }
  const std::string_view near = nearest_key(key);
  if (near.empty()) {
    fail_usage("{}: unknown key {}; `tessera help config` lists the keys", place.text(),
               shown(key));
  }
  fail_usage("{}: unknown key {}; did you mean '{}'?", place.text(), shown(key), near);
}

void add_file(Settings& settings, YamlNode root) {
  if (root.kind == YamlNode::Kind::kNull) return;
  if (root.kind != YamlNode::Kind::kMap) {
    fail_usage("{}: expected 'key: value' lines", root.place.text());
  }
  for (YamlEntry& entry : root.entries) {
    const Flag* flag = flag_of(entry.key, entry.place, entry.value);
    if (flag == nullptr || entry.value.kind == YamlNode::Kind::kNull) continue;
    const auto found = settings.find(flag->name);
    if (found != settings.end()) {
      fail_usage("{}: {} and {} ({}) are two spellings of one key; keep one", entry.place.text(),
                 entry.key, found->second.spelling, found->second.place.text());
    }
    settings[flag->name] = {entry.key, entry.place, std::move(entry.value), false};
  }
}

/// The node at `part` of `node`, a key of a map or an index into a list, made where it is missing.
YamlNode& child(YamlNode& node, std::string_view part, const Place& place) {
  size_t index = 0;
  const char* end = part.data() + part.size();
  const auto [stop, error] = std::from_chars(part.data(), end, index);
  const bool number = error == std::errc{} && stop == end;
  if (node.kind == YamlNode::Kind::kNull) {
    node.kind = number ? YamlNode::Kind::kList : YamlNode::Kind::kMap;
    node.place = place;
  }
  if (node.kind == YamlNode::Kind::kList && number && index <= node.items.size()) {
    if (index == node.items.size()) node.items.emplace_back();
    return node.items[index];
  }
  if (node.kind == YamlNode::Kind::kMap) {
    for (YamlEntry& entry : node.entries) {
      if (entry.key == part) return entry.value;
    }
    node.entries.push_back({std::string(part), place, {}});
    return node.entries.back().value;
  }
  if (node.kind == YamlNode::Kind::kList) {
    fail_usage("{}: expected an index from 0 to {}, got {}", place.text(), node.items.size(),
               shown(part));
  }
  fail_usage("{}: there is nothing inside the value before {}", place.text(), shown(part));
}

void add_override(Settings& settings, std::set<std::string>& seen, const std::string& text) {
  const std::string source = "command line: " + one_line(text);
  const Place place{std::make_shared<const std::string>(source), 0};
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    fail_usage("{}: expected key=value, such as lora_r=8", source);
  }
  const std::string_view path = std::string_view(text).substr(0, equals);
  const std::string_view key = path.substr(0, path.find('.'));
  YamlNode value = parse_yaml(std::string_view(text).substr(equals + 1), source, false);
  const Flag* flag = flag_of(key, place, value);
  if (flag == nullptr) return;
  std::string_view rest = path.substr(key.size());
  if (!seen.insert(std::string(flag->name).append(rest)).second) {
    fail_usage("{}: given twice on the command line; keep one", source);
  }
  if (rest.empty()) {
    settings.erase(flag->name);
    if (value.kind == YamlNode::Kind::kNull) return;
    settings[flag->name] = {std::string(key), place, std::move(value), true};
    return;
  }
  Given& given = settings[flag->name];
  if (given.spelling.empty()) given = {std::string(key), place, {}, true};
  YamlNode* node = &given.value;
  for (size_t depth = 1; !rest.empty(); ++depth) {
    if (depth > YamlLimits{}.max_depth) {
      fail_usage("{}: nested more than {} deep", source, YamlLimits{}.max_depth);
    }
    rest.remove_prefix(1);
    const std::string_view part = rest.substr(0, rest.find('.'));
    node = &child(*node, part, place);
    rest.remove_prefix(part.size());
  }
  *node = std::move(value);
}

}  // namespace

Settings read_settings(std::string_view text, const std::string& source,
                       std::span<const std::string> overrides) {
  Settings settings;
  add_file(settings, parse_yaml(text, source));
  std::set<std::string> seen;
  for (const std::string& item : overrides) add_override(settings, seen, item);
  return settings;
}

Config resolve(const Settings& settings, const std::string& source) {
  Config config;
  config.source = source;
  for (const auto& [name, given] : settings) {
    find_flag(name)->read(config, {given.spelling, given.value});
  }
  if (!settings.contains("load_in_4bit")) {
    config.load_in_4bit = config.adapter == AdapterKind::kQlora;
  }
  if (!settings.contains("lora_target_linear")) {
    config.lora_target_linear = config.lora_target_modules.empty();
  }
  return config;
}

}  // namespace tessera::launch
