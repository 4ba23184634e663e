// The list of data sets in a config. See flags_types.h.
#include "launch/config/flags_types.h"
#include "runtime/core/nearest.h"

namespace tessera::launch {

namespace {

const ChoiceType<RowType>& row_types() {
  static const ChoiceType<RowType> types = {{{RowType::kAlpaca, "alpaca"},
                                             {RowType::kChatTemplate, "chat_template"},
                                             {RowType::kCompletion, "completion"},
                                             {RowType::kPromptCompletion, "prompt_completion"},
                                             {RowType::kTokenized, "tokenized"}}};
  return types;
}

std::optional<DatasetConfig> read_dataset(const Setting& setting) {
  if (setting.value.kind != YamlNode::Kind::kMap) {
    return setting.expected("a map, such as {path: data.jsonl, type: alpaca}");
  }
  DatasetConfig dataset;
  bool ok = true, path_given = false;
  for (const YamlEntry& entry : setting.value.entries) {
    const std::string key = fmt::format("{}.{}", setting.key, entry.key);
    const Setting inner{key, entry.value, setting.faults};
    const bool known = entry.key == "path" || entry.key == "type";
    if (known && entry.value.kind == YamlNode::Kind::kNull) continue;
    if (entry.key == "path") {
      const std::optional<std::string> path = PathType{}.read(inner);
      dataset.path = path.value_or("");
      path_given = true;
      ok = ok && path;
      continue;
    }
    if (entry.key == "type") {
      dataset.type = row_types().read(inner);
      ok = ok && dataset.type;
      continue;
    }
    const std::string_view near = nearest_of(entry.key, {"path", "type"});
    setting.faults.add(
        entry.place, "{}: unknown key {}; {}", setting.key, shown(entry.key),
        near.empty() ? "a dataset has path and type" : fmt::format("did you mean '{}'?", near));
    path_given = path_given || near == "path";
    ok = false;
  }
  if (!path_given) {
    setting.faults.add(setting.value.place, "{}.path is missing", setting.key);
    ok = false;
  }
  return ok ? std::optional(dataset) : std::nullopt;
}

}  // namespace

std::string name_of(RowType type) { return row_types().write(type); }

std::optional<std::vector<DatasetConfig>> DatasetsType::read(const Setting& setting) const {
  constexpr std::string_view kWhat = "a list, such as [{path: data.jsonl, type: alpaca}]";
  if (setting.value.kind != YamlNode::Kind::kList || setting.value.items.empty()) {
    return setting.expected(kWhat);
  }
  std::vector<DatasetConfig> datasets;
  const std::vector<YamlNode>& items = setting.value.items;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string key = fmt::format("{}.{}", setting.key, i);
    auto dataset = read_dataset({key, items[i], setting.faults});
    if (dataset) datasets.push_back(std::move(*dataset));
  }
  return datasets.size() == items.size() ? std::optional(datasets) : std::nullopt;
}

std::string DatasetsType::write(const std::vector<DatasetConfig>& value) const {
  if (value.empty()) return "null";
  std::string out;
  for (const DatasetConfig& dataset : value) {
    out += fmt::format("\n  - path: {}", yaml_text(dataset.path));
    if (dataset.type) out += fmt::format("\n    type: {}", name_of(*dataset.type));
  }
  return out;
}

}  // namespace tessera::launch
