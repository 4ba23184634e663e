#include "launch/data/files/data_card.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "launch/config/faults.h"
#include "launch/config/yaml.h"
#include "launch/data/files/byte_stream.h"
#include "launch/data/files/known_formats.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

constexpr size_t kMostHeaderBytes = size_t{16} << 20;

/// Keys of a config that say how files are read, which nothing here follows.
constexpr std::array<std::string_view, 12> kReading = {
    "sep",   "delimiter", "header",   "names",   "column_names", "quotechar",
    "quote", "encoding",  "skiprows", "usecols", "field",        "columns"};

/// A text with the line it begins in.
struct Section {
  std::string text;
  int line = 0;
};

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

/// What the header has under "configs:". The rest of it may be megabytes about columns, of which
/// nothing is wanted, and in YAML a key that is not indented ends what is under another.
Section configs_of_header(std::string_view text) {
  Section section;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (take_line(text) != "---") return {};
  bool inside = false;
  for (int number = 2; !text.empty(); ++number) {
    const std::string_view line = take_line(text);
    if (line == "---") return section;
    const bool key = !line.empty() && std::string_view(" \t-#").find(line[0]) == line.npos;
    if (key) inside = line.starts_with("configs:");
    if (key && inside) section.line = number;
    if (inside) section.text.append(line).append("\n");
  }
  return {};
}

[[noreturn]] void refuse(const YamlNode& node, std::string_view why) {
  fail("{}: {}", node.place.text(), why);
}

/// A path that a stranger wrote. It must not lead out of the folder.
const std::string& path_inside(const YamlNode& node) {
  if (node.kind != Kind::kScalar) refuse(node, "expected the name of a file or a pattern");
  const fs::path path = node.text;
  if (node.text.find("://") != node.text.npos) {
    fail("{}: {} is a URL; download it, and name it in data_files", node.place.text(),
         shown(node.text));
  }
  if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
    fail("{}: {} leads out of the folder; name such files in data_files", node.place.text(),
         shown(node.text));
  }
  return node.text;
}

std::vector<std::string> patterns_of(const YamlNode& node) {
  if (node.kind != Kind::kList) return {path_inside(node)};
  std::vector<std::string> patterns;
  for (const YamlNode& item : node.items) patterns.push_back(path_inside(item));
  return patterns;
}

const YamlNode* find(const YamlNode& map, std::string_view key) {
  const auto found = std::ranges::find(map.entries, key, &YamlEntry::key);
  return found == map.entries.end() || found->value.kind == Kind::kNull ? nullptr : &found->value;
}

CardSplit split_of(const YamlNode& node) {
  const YamlNode* name = find(node, "split");
  const YamlNode* path = find(node, "path");
  if (!name || name->kind != Kind::kScalar || !path) {
    refuse(node, "expected {split: NAME, path: FILES} in data_files");
  }
  return {name->text, patterns_of(*path)};
}

std::vector<CardSplit> splits_of(const YamlNode& node) {
  const bool by_split =
      node.kind == Kind::kList && !node.items.empty() && node.items[0].kind == Kind::kMap;
  if (!by_split) return {{"train", patterns_of(node)}};
  std::vector<CardSplit> splits;
  for (const YamlNode& item : node.items) {
    splits.push_back(split_of(item));
    const auto first = std::ranges::find(splits, splits.back().name, &CardSplit::name);
    if (first != splits.end() - 1) refuse(item, "this split is there twice");
  }
  return splits;
}

CardConfig config_of(const YamlNode& node) {
  const YamlNode* name = find(node, "config_name");
  if (!name || name->kind != Kind::kScalar) refuse(node, "expected a config with a config_name");
  CardConfig config;
  config.name = name->text;
  for (const YamlEntry& entry : node.entries) {
    if (std::ranges::find(kReading, entry.key) != kReading.end()) {
      fail("{}: {} says how files are read, which is not followed; name the files in data_files",
           entry.place.text(), entry.key);
    }
  }
  if (const YamlNode* folder = find(node, "data_dir")) config.data_dir = path_inside(*folder);
  if (const YamlNode* files = find(node, "data_files")) config.splits = splits_of(*files);
  const YamlNode* is_default = find(node, "default");
  config.is_default = is_default && is_default->text == "true";
  return config;
}

/// The first fault as an Error: a data set is no config that a user writes and corrects.
[[noreturn]] void refuse_first(const Faults& faults) {
  try {
    faults.raise();
  } catch (const Error& error) {
    const std::string_view all = error.what();
    fail("{}", all.substr(0, all.find('\n')));
  }
  fail("the header cannot be read");
}

}  // namespace

std::vector<CardConfig> read_data_card(const std::string& folder) {
  const std::string path = (fs::path(folder) / "README.md").string();
  if (!io::exists(path)) return {};
  std::string text(kMostHeaderBytes, '\0');
  text.resize(FileBytes(path).read(text));
  const Section section = configs_of_header(text);
  if (section.text.empty()) return {};
  Faults faults;
  const Place start{std::make_shared<const std::string>(path), section.line, 0};
  const auto root = parse_yaml(section.text, start, faults);
  if (!faults.empty()) refuse_first(faults);
  const YamlNode* list = root ? find(*root, "configs") : nullptr;
  if (!list) return {};
  if (list->kind != Kind::kList) refuse(*list, "expected a list of configs");
  std::vector<CardConfig> configs;
  for (const YamlNode& item : list->items) configs.push_back(config_of(item));
  return configs;
}

}  // namespace tessera::launch
