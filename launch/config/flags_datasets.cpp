// The list of data sets in a config. See flags_types.h.
#include <map>

#include "launch/config/dataset_keys.h"
#include "launch/config/dataset_spellings.h"
#include "launch/config/flags_types.h"
#include "runtime/core/nearest.h"

namespace tessera::launch {

namespace {

const ChoiceType<RowType>& row_types() {
  static const ChoiceType<RowType> types = {{{RowType::kAlpaca, "alpaca"},
                                             {RowType::kChatTemplate, "chat_template"},
                                             {RowType::kCompletion, "completion"},
                                             {RowType::kPromptCompletion, "prompt_completion"},
                                             {RowType::kTokenized, "tokenized"},
                                             {RowType::kInputOutput, "input_output"}}};
  return types;
}

/// Reads one entry of the list.
class DatasetReader {
 public:
  explicit DatasetReader(const Setting& setting) : setting_(setting) {}

  std::optional<DatasetConfig> read() {
    for (const YamlEntry& entry : setting_.value.entries) take("", entry);
    if (!seen_.contains("path") && !path_meant_) {
      setting_.faults.add(setting_.value.place, "{}.path is missing", setting_.key);
      ok_ = false;
    }
    if (ok_) settle_type();
    if (ok_) settle_thinking();
    if (ok_) check();
    return ok_ ? std::optional(dataset_) : std::nullopt;
  }

 private:
  /// Reads what is written at `prefix` + the key of `entry`.
  void take(std::string_view prefix, const YamlEntry& entry);
  void take_map(const std::string& spelled, const YamlNode& map);
  void take_ours(std::string_view ours, const std::string& spelled, const YamlEntry& entry);
  void take_type(const std::string& spelled, const YamlNode& value);
  void take_unknown(const std::string& spelled, const YamlEntry& entry);
  /// Whether no other spelling of the key was met.
  bool once(std::string_view ours, const std::string& spelled, const YamlNode& value);
  void settle_type();
  void settle_thinking();
  void check();

  template <class... Args>
  void fault(const YamlNode& value, std::string_view key, fmt::format_string<Args...> format,
             Args&&... args) {
    const std::string whole = fmt::format("{}.{}", setting_.key, key);
    Setting{whole, value, setting_.faults}.fault(format, std::forward<Args>(args)...);
    ok_ = false;
  }

  const Setting& setting_;
  DatasetConfig dataset_;
  bool ok_ = true;
  bool path_meant_ = false;  // a key near to "path" was told
  const NamedType* named_ = nullptr;
  std::string thinking_key_, thinking_field_;
  /// By our names: how each key was spelled.
  std::map<std::string, std::string, std::less<>> seen_;
};

void DatasetReader::take(std::string_view prefix, const YamlEntry& entry) {
  const std::string spelled = fmt::format("{}{}", prefix, entry.key);
  if (prefix.empty() && is_spelling_map(spelled)) return take_map(spelled, entry.value);
  std::string_view ours = dataset_spelling(spelled);
  if (ours.empty() && prefix.empty() && find_dataset_key(spelled) != nullptr) ours = spelled;
  if (entry.key == "field_thinking" || entry.key == "template_thinking_key") ours = spelled;
  if (ours.empty()) return take_unknown(spelled, entry);
  if (entry.value.kind != YamlNode::Kind::kNull) take_ours(ours, spelled, entry);
}

void DatasetReader::take_map(const std::string& spelled, const YamlNode& map) {
  if (map.kind == YamlNode::Kind::kNull) return;
  if (map.kind != YamlNode::Kind::kMap) {
    const std::string key = fmt::format("{}.{}", setting_.key, spelled);
    Setting{key, map, setting_.faults}.expected("a map");
    ok_ = false;
    return;
  }
  for (const YamlEntry& entry : map.entries) take(spelled + ".", entry);
}

void DatasetReader::take_ours(std::string_view ours, const std::string& spelled,
                              const YamlEntry& entry) {
  const std::string whole = fmt::format("{}.{}", setting_.key, spelled);
  const Setting inner{whole, entry.value, setting_.faults};
  if (spelled == "field_thinking" || spelled == "template_thinking_key") {
    const auto text = TextType{}.read(inner);
    (spelled == "field_thinking" ? thinking_field_ : thinking_key_) = text.value_or("");
    ok_ = ok_ && text;
    return;
  }
  const size_t dot = ours.find('.');
  const DatasetKey& key = *find_dataset_key(ours.substr(0, dot));
  if (!key.is_map && !once(key.name, spelled, entry.value)) return;
  if (key.name == "type") return take_type(spelled, entry.value);
  if (dot == ours.npos) {
    ok_ = key.read(dataset_, inner) && ok_;
    return;
  }
  YamlNode part;
  part.kind = YamlNode::Kind::kMap;
  part.place = entry.value.place;
  part.entries.push_back({std::string(ours.substr(dot + 1)), entry.place, entry.value});
  ok_ = key.read(dataset_, {whole, part, setting_.faults}) && ok_;
}

bool DatasetReader::once(std::string_view ours, const std::string& spelled, const YamlNode& value) {
  const auto [found, added] = seen_.emplace(ours, spelled);
  if (!added) {
    fault(value, spelled, "{} is another spelling of this key; keep one", found->second);
  }
  return added;
}

void DatasetReader::take_type(const std::string& spelled, const YamlNode& value) {
  if (value.kind == YamlNode::Kind::kMap) {
    dataset_.type = RowType::kPromptCompletion;
    take_map(spelled, value);
    if (ok_ && dataset_.format.empty()) {
      fault(value, spelled, "format is missing, such as format: \"{{instruction}}\\n\"");
    }
    return;
  }
  const std::string whole = fmt::format("{}.{}", setting_.key, spelled);
  const Setting inner{whole, value, setting_.faults};
  const std::string* name = inner.scalar(row_types().describe());
  // LLaMA-Factory's alpaca is a way to write conversations.
  const bool conversation = spelled == "formatting" && name != nullptr && *name == "alpaca";
  named_ = name == nullptr ? nullptr : find_named_type(conversation ? "chat_template" : *name);
  ok_ = ok_ && named_ != nullptr;
  if (named_ != nullptr) {
    dataset_.type = named_->type;
  } else if (name != nullptr) {
    const std::string_view cure = refused_type(*name);
    if (cure.empty()) {
      inner.expected(row_types().describe());
    } else {
      inner.fault("{} is not offered: {}", shown(*name), cure);
    }
  }
}

void DatasetReader::take_unknown(const std::string& spelled, const YamlEntry& entry) {
  if (const ForeignKey* foreign = find_foreign_dataset_key(spelled)) {
    if (asks_for_nothing(*foreign, entry.value)) return;
    if (foreign->use == ForeignUse::kNotNeeded) {
      return setting_.faults.note(entry.place, "{}.{}: not needed here: {}", setting_.key, spelled,
                                  foreign->text);
    }
    setting_.faults.add(entry.place, "{}: {} is not a key of this program: {}", setting_.key,
                        spelled, foreign->text);
    ok_ = false;
    return;
  }
  ok_ = false;
  std::vector<std::string_view> known;
  for (const DatasetKey& key : dataset_keys()) {
    known.push_back(key.name);
    known.insert(known.end(), key.aliases.begin(), key.aliases.end());
  }
  for (const DatasetSpelling& spelling : dataset_spellings()) known.push_back(spelling.theirs);
  const std::string_view near = nearest_of(spelled, known);
  setting_.faults.add(entry.place, "{}: unknown key {}; {}", setting_.key, shown(spelled),
                      near.empty() ? "`tessera help config` lists the keys of a data set"
                                   : fmt::format("did you mean '{}'?", near));
  path_meant_ = path_meant_ || near == "path";
}

/// What comes with a type holds where the data set does not say otherwise.
void DatasetReader::settle_type() {
  if (named_ == nullptr) return;
  for (const auto& [field, value] : named_->settings) {
    if ((dataset_.*field).empty()) dataset_.*field = value;
  }
}

/// Thoughts are a key of messages as others are.
void DatasetReader::settle_thinking() {
  if (thinking_key_.empty() && thinking_field_.empty()) return;
  constexpr std::string_view kUsual = "reasoning_content";
  const std::string ours(thinking_key_.empty() ? kUsual : thinking_key_);
  const std::string theirs(thinking_field_.empty() ? kUsual : thinking_field_);
  if (ours == theirs) return;
  const std::string key = fmt::format("{}.field_thinking", setting_.key);
  ok_ = put_name(dataset_.message_property_mappings, ours, theirs,
                 {key, setting_.value, setting_.faults});
}

/// Settings that contradict each other.
void DatasetReader::check() {
  const DatasetConfig& d = dataset_;
  const bool prompts = !d.type || d.type == RowType::kPromptCompletion;
  if (!d.format.empty() && !prompts) {
    fault(setting_.value, "format", "it makes prompts, and the type is {}; set type: {}",
          name_of(*d.type), name_of(RowType::kPromptCompletion));
  } else if (d.format.empty() && !(d.no_input_format + d.system_format).empty()) {
    fault(setting_.value, d.system_format.empty() ? "no_input_format" : "system_format",
          "it needs format beside it");
  } else if (d.type == RowType::kPromptCompletion && d.format.empty() && !d.field_input.empty()) {
    fault(setting_.value, "field_input", "prompt_completion has no place for it without format");
  }
}

std::optional<DatasetConfig> read_dataset(const Setting& setting) {
  if (setting.value.kind != YamlNode::Kind::kMap) {
    return setting.expected("a map, such as {path: data.jsonl, type: alpaca}");
  }
  return DatasetReader(setting).read();
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
  const DatasetConfig usual;
  std::string out;
  for (const DatasetConfig& dataset : value) {
    bool first = true;
    for (const DatasetKey& key : dataset_keys()) {
      const std::string text = key.write(dataset);
      if (text == key.write(usual)) continue;
      out += fmt::format("\n  {} {}: {}", first ? "-" : " ", key.name, text);
      first = false;
    }
  }
  return out;
}

}  // namespace tessera::launch
