#include "launch/config/settings.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "launch/config/flags.h"
#include "launch/config/translation.h"

namespace tessera::launch {

namespace {

/// Reads the file and then the overrides into one map.
class Reader {
 public:
  explicit Reader(Faults& faults) : faults_(faults) {}
  void add_file(YamlNode root);
  void add_override(const std::string& text, int argument);
  /// With what foreign keys mean.
  Settings take() {
    Translation(settings_, foreign_, faults_).run();
    return std::move(settings_);
  }

 private:
  /// Null for a key that is unknown, which is told, and for a foreign key, which is kept.
  const Flag* flag_of(std::string_view key, const Place& place, const YamlNode& value);
  void keep(const ForeignKey& foreign, std::string_view key, const Place& place,
            const YamlNode& value);
  void put_inside(const Flag& flag, const Place& place, std::string_view path, YamlNode value);

  Faults& faults_;
  Settings settings_, foreign_;
  std::set<std::string> seen_;  // on the command line
};

const Flag* Reader::flag_of(std::string_view key, const Place& place, const YamlNode& value) {
  if (const Flag* flag = find_flag(key)) return flag;
  if (const ForeignKey* foreign = find_foreign_key(key)) {
    keep(*foreign, key, place, value);
    return nullptr;
  }
  const std::string_view near = nearest_key(key);
  if (near.empty()) {
    faults_.add(place, "unknown key {}; `tessera help config` lists the keys", shown(key));
    return nullptr;
  }
  faults_.add(place, "unknown key {}; did you mean '{}'?", shown(key), near);
  faults_.doubt(find_flag(near)->name);
  return nullptr;
}

void Reader::keep(const ForeignKey& foreign, std::string_view key, const Place& place,
                  const YamlNode& value) {
  const std::string_view name = *std::ranges::find(foreign.names, key);
  foreign_.erase(name);
  const bool empty = value.kind == YamlNode::Kind::kScalar && value.text.empty();
  if (empty || value.kind == YamlNode::Kind::kNull) return;
  foreign_[name] = {std::string(key), place, value};
}

void Reader::add_file(YamlNode root) {
  if (root.kind == YamlNode::Kind::kNull) return;
  if (root.kind != YamlNode::Kind::kMap) {
    faults_.add(root.place, "expected 'key: value' lines");
    faults_.raise();
  }
  for (YamlEntry& entry : root.entries) {
    const Flag* flag = flag_of(entry.key, entry.place, entry.value);
    if (entry.repeated) faults_.doubt(flag != nullptr ? flag->name : entry.key);
    if (flag == nullptr) continue;
    if (entry.value.kind == YamlNode::Kind::kNull) continue;
    const auto found = settings_.find(flag->name);
    if (found == settings_.end()) {
      settings_[flag->name] = {entry.key, entry.place, std::move(entry.value)};
      continue;
    }
    faults_.add(entry.place, "{} and {} ({}) are two spellings of one key; keep one", entry.key,
                found->second.spelling, found->second.place.text());
    faults_.doubt(flag->name);
    Config unused;
    flag->read(unused, {entry.key, entry.value, faults_});
  }
}

/// The node at `part` of `node`, a key of a map or an index into a list, made where it is missing.
/// Null where there can be none.
YamlNode* child(YamlNode& node, std::string_view part, const Place& place) {
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
    return &node.items[index];
  }
  if (node.kind != YamlNode::Kind::kMap) return nullptr;
  for (YamlEntry& entry : node.entries) {
    if (entry.key == part) return &entry.value;
  }
  node.entries.push_back({std::string(part), place, {}});
  return &node.entries.back().value;
}

/// Puts `value` at `path`, ".0.path" for one, inside `root`. Gives the fault where that cannot be.
std::string put(YamlNode& root, std::string_view path, const Place& place, YamlNode value) {
  YamlNode* node = &root;
  for (size_t depth = 1; !path.empty(); ++depth) {
    if (depth > YamlLimits{}.max_depth) {
      return fmt::format("nested more than {} deep", YamlLimits{}.max_depth);
    }
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('.'));
    YamlNode* inner = child(*node, part, place);
    if (inner == nullptr) {
      if (node->kind != YamlNode::Kind::kList) {
        return fmt::format("there is nothing inside the value before {}", shown(part));
      }
      return fmt::format("expected an index from 0 to {}, got {}", node->items.size(), shown(part));
    }
    node = inner;
    path.remove_prefix(part.size());
  }
  *node = std::move(value);
  return {};
}

void Reader::put_inside(const Flag& flag, const Place& place, std::string_view path,
                        YamlNode value) {
  Given& given = settings_.at(flag.name);
  const YamlNode before = given.value;
  const std::string fault = put(given.value, path, place, std::move(value));
  if (fault.empty()) return;
  faults_.doubt(flag.name);
  // A value that could be wrong in itself has been or will be told as such.
  Faults told;
  Config unused;
  const bool is_inner = before.kind != YamlNode::Kind::kScalar;
  if (is_inner || flag.read(unused, {given.spelling, before, told})) {
    faults_.add(place, "{}", fault);
  }
  given.value = before;
  if (before.kind == YamlNode::Kind::kNull) settings_.erase(flag.name);
}

/// Whether YAML takes a part of `text`, one value, for a comment: a '#' outside of quotes that
/// begins it or follows a blank.
bool has_comment(std::string_view text) {
  char quote = 0, before = ' ';
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool blank = before == ' ' || before == '\t';
    if (quote != 0) {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) quote = 0;
    } else if (c == '#' && blank) {
      return true;
    } else if ((c == '"' || c == '\'') &&
               (blank || std::string_view("[{,:").find(before) != std::string_view::npos)) {
      quote = c;
    }
    before = c;
  }
  return false;
}

void Reader::add_override(const std::string& text, int argument) {
  const Place place{std::make_shared<const std::string>("command line: " + one_line(text)), 0,
                    argument};
  const size_t equals = std::min(text.find('='), text.size());
  const std::string_view path = std::string_view(text).substr(0, equals);
  const std::string_view key = path.substr(0, path.find('.'));
  if (equals == text.size() || equals == 0) {
    faults_.add(place, "expected key=value, such as lora_r=8");
    if (const Flag* flag = find_flag(key)) faults_.doubt(flag->name);
    return;
  }
  if (has_comment(std::string_view(text).substr(equals + 1))) {
    faults_.add(place, "what follows '#' would be a comment; put the value in quotes");
    if (const Flag* flag = find_flag(key)) faults_.doubt(flag->name);
    return;
  }
  YamlNode faulty;
  faulty.kind = YamlNode::Kind::kFaulty;
  faulty.place = place;
  YamlNode value =
      parse_yaml(std::string_view(text).substr(equals + 1), place, faults_).value_or(faulty);
  const std::string_view rest = path.substr(key.size());
  const ForeignKey* foreign = find_foreign_key(key);
  const Flag* flag = find_flag(key);
  const std::string_view name = flag != nullptr ? flag->name : key;
  if ((flag != nullptr || foreign != nullptr) &&
      !seen_.insert(std::string(name).append(rest)).second) {
    faults_.add(place, "given twice on the command line; keep one");
    faults_.doubt(name);
    return;
  }
  if (foreign != nullptr && !rest.empty()) {
    faults_.add(place, "{} is a key of other trainers; give its value as a whole", key);
    return;
  }
  if (flag_of(key, place, value) == nullptr) return;
  if (!rest.empty()) {
    settings_.try_emplace(flag->name, Given{std::string(key), place, {}});
    return put_inside(*flag, place, rest, std::move(value));
  }
  settings_.erase(flag->name);
  if (value.kind == YamlNode::Kind::kNull) return;
  settings_[flag->name] = {std::string(key), place, std::move(value)};
}

}  // namespace

const Given* find(const Settings& settings, std::string_view name) {
  const auto found = settings.find(name);
  return found == settings.end() ? nullptr : &found->second;
}

Settings read_settings(std::string_view text, const std::string& source,
                       std::span<const std::string> overrides, Faults& faults) {
  Reader reader(faults);
  const Place start{std::make_shared<const std::string>(source), 1};
  std::optional<YamlNode> root = parse_yaml(text, start, faults);
  if (!root) faults.raise();
  reader.add_file(std::move(*root));
  for (size_t i = 0; i < overrides.size(); ++i) reader.add_override(overrides[i], int(i) + 1);
  return reader.take();
}

bool has_list_of_values(const Flag& flag, const Given& given) {
  if (!flag.searched || given.value.kind != YamlNode::Kind::kList) return false;
  return !takes_list(flag) || std::ranges::any_of(given.value.items, [](const YamlNode& item) {
    return item.kind == YamlNode::Kind::kList;
  });
}

Config resolve(const Settings& settings, const std::string& source, Faults& faults) {
  Config config;
  config.source = source;
  for (const auto& [name, given] : settings) {
    const Flag& flag = *find_flag(name);
    if (!takes_list(flag) && has_list_of_values(flag, given)) {
      faults.add(given.place,
                 "{}: expected {}, got a list; `tessera search` compares several values",
                 given.spelling, flag.type);
      faults.doubt(name);
    } else if (!flag.read(config, {given.spelling, given.value, faults})) {
      faults.doubt(name);
    }
  }
  return config;
}

}  // namespace tessera::launch
