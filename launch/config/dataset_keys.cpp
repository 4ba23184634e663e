#include "launch/config/dataset_keys.h"

#include <algorithm>

#include "launch/config/text_format.h"

namespace tessera::launch {
namespace {

/// A text with places to fill in.
struct FormatType : TextType {
  std::vector<std::string_view> places;

  std::optional<std::string> read(const Setting& setting) const {
    const std::optional<std::string> text = TextType::read(setting);
    if (!text) return std::nullopt;
    const std::string fault = format_fault(*text, places);
    if (!fault.empty()) return setting.fault("{}", fault);
    return text;
  }
  friend Schema schema_of(const FormatType&) { return schema_of(TextType()); }
};

/// What the files are, by one of the names that trainers give it; kept by our name.
struct FileKindType {
  static const ChoiceType<std::string>& kinds() {
    static const ChoiceType<std::string> all = {{{"json", "json", {"jsonl"}},
                                                 {"csv", "csv", {"tsv"}},
                                                 {"text", "text", {"txt"}},
                                                 {"parquet", "parquet"}}};
    return all;
  }
  std::optional<std::string> read(const Setting& setting) const { return kinds().read(setting); }
  std::string write(const std::string& kind) const { return kind.empty() ? "null" : kind; }
  std::string describe() const { return kinds().describe(); }
  friend Schema schema_of(const FileKindType&) { return schema_of(kinds()); }
  std::string notes() const { return kinds().notes(); }
};

/// A map from our names to those in the rows, each read as `Inner`.
template <class Inner>
struct NameMapType {
  using Value = typename decltype(Inner{}.read(std::declval<Setting>()))::value_type;

  bool read(NameMap<Value>& map, const Setting& setting) const {
    if (setting.value.kind != YamlNode::Kind::kMap) {
      setting.expected(describe());
      return false;
    }
    bool ok = true;
    for (const YamlEntry& entry : setting.value.entries) {
      if (entry.value.kind == YamlNode::Kind::kNull) continue;
      const std::string key = fmt::format("{}.{}", setting.key, one_line(entry.key));
      const auto value = Inner{}.read({key, entry.value, setting.faults});
      ok = value && put_name(map, entry.key, *value, setting) && !entry.repeated && ok;
    }
    return ok;
  }
  std::string write(const NameMap<Value>& map) const {
    return yaml_map(map, [](const Value& theirs) { return Inner{}.write(theirs); });
  }
  std::string describe() const {
    return fmt::format("a map from our names to {}", Inner{}.describe());
  }
};

struct NameType : TextType {
  std::string describe() const { return "one of the rows"; }
};
struct RolesType : TextsType {
  std::string describe() const { return "one of the rows, or a list of them"; }
};

template <class T, class Type>
DatasetKey key(std::string_view name, T DatasetConfig::*field, Type type, std::string_view help,
               std::vector<std::string_view> aliases = {}) {
  DatasetKey made{.name = name, .help = help, .type = type.describe(), .aliases = aliases};
  if constexpr (requires { type.notes(); }) made.notes = type.notes();
  made.schema = schema_of(type);
  made.read = [=](DatasetConfig& dataset, const Setting& setting) {
    auto value = type.read(setting);
    if (value) dataset.*field = std::move(*value);
    return value.has_value();
  };
  made.write = [=](const DatasetConfig& dataset) { return type.write(dataset.*field); };
  return made;
}

template <class Theirs, class Inner>
DatasetKey map_key(std::string_view name, NameMap<Theirs> DatasetConfig::*field,
                   NameMapType<Inner> type, std::string_view help) {
  DatasetKey made{.name = name, .help = help, .type = type.describe(), .is_map = true};
  made.schema = {{"type", "object"}};
  made.read = [=](DatasetConfig& dataset, const Setting& setting) {
    return type.read(dataset.*field, setting);
  };
  made.write = [=](const DatasetConfig& dataset) { return type.write(dataset.*field); };
  return made;
}

/// The type is read by the reader of the whole entry, as its names can stand for other keys too.
DatasetKey type_key() {
  return {.name = "type",
          .help =
              "What the rows are; left out, it is inferred from the columns. A map of "
              "field_instruction, field_input, field_output, field_system, system_prompt, "
              "system_format, format and no_input_format means prompt_completion.",
          .type =
              "alpaca, chat_template, completion, prompt_completion, tokenized or "
              "input_output",
          .schema = {{"type", {"string", "object"}}},
          .write = [](const DatasetConfig& dataset) {
            return dataset.type ? name_of(*dataset.type) : "null";
          }};
}

void add_places(std::vector<DatasetKey>& keys) {
  using D = DatasetConfig;
  keys.push_back(key("path", &D::path, PathType{},
                     "The file, folder, or data set of the hub. Required.", {"file_name"}));
  keys.push_back(type_key());
  keys.push_back(key("name", &D::name, TextType{}, "Which subset of the data set.", {"subset"}));
  keys.push_back(key("split", &D::split, TextType{},
                     "Which split, or a part of one: train, train[:1000], test[10%:20%]."));
  keys.push_back(key("data_files", &D::data_files, TextsType{},
                     "Which files of the folder, by name or by pattern."));
  keys.push_back(key("ds_type", &D::ds_type, FileKindType{},
                     "What the files are; left out, their names and contents tell."));
  keys.push_back(
      key("revision", &D::revision, TextType{}, "Which revision of a data set of the hub."));
  keys.push_back(key("weight", &D::weight, RealType{.low = 0, .above = true},
                     "How often its rows are taken, beside those of the other data sets."));
  keys.push_back(key("max_samples", &D::max_samples, OptionalType<IntType>{{1, kMostSteps}},
                     "Most rows to take.", {"num_samples", "samples"}));
}

void add_columns(std::vector<DatasetKey>& keys) {
  using D = DatasetConfig;
  keys.push_back(key("field", &D::field, TextType{},
                     "The column of a completion's text, for `text`.", {"text_column"}));
  keys.push_back(key("field_messages", &D::field_messages, TextType{},
                     "The column of the messages, for `messages` or `conversations`."));
  keys.push_back(
      key("field_tools", &D::field_tools, TextType{}, "The column of the tools, for `tools`."));
  keys.push_back(key("field_system", &D::field_system, TextType{},
                     "The column of the system text, for `system`."));
  keys.push_back(key("field_instruction", &D::field_instruction, TextType{},
                     "The column of the question, for `instruction` or `prompt`."));
  keys.push_back(key("field_input", &D::field_input, TextType{},
                     "The column of what belongs to the question, for `input`."));
  keys.push_back(key("field_output", &D::field_output, TextType{},
                     "The column of the answer, for `output` or `completion`."));
  keys.push_back(key("field_history", &D::field_history, TextType{},
                     "The column of earlier questions and answers, for `history`."));
}

void add_messages(std::vector<DatasetKey>& keys) {
  using D = DatasetConfig;
  keys.push_back(map_key("message_property_mappings", &D::message_property_mappings,
                         NameMapType<NameType>{},
                         "What the keys of messages are called, such as {role: from, content: "
                         "value}."));
  keys.push_back(map_key("roles", &D::roles, NameMapType<RolesType>{},
                         "What the roles are called, such as {assistant: [bot, agent]}. The role "
                         "function_call makes a tool call of the message."));
  keys.push_back(key("drop_system_message", &D::drop_system_message, BoolType{},
                     "Leave out the system text of conversations."));
}

void add_formats(std::vector<DatasetKey>& keys) {
  using D = DatasetConfig;
  keys.push_back(key("system_prompt", &D::system_prompt, TextType{},
                     "The system text of rows that have none."));
  keys.push_back(key("system_format", &D::system_format, FormatType{{}, {"system"}},
                     "What is made of {system} in front of `format`; left out, the text itself."));
  keys.push_back(key("format", &D::format, FormatType{{}, {"instruction", "input"}},
                     "The prompt, made of {instruction} and {input}."));
  keys.push_back(key("no_input_format", &D::no_input_format, FormatType{{}, {"instruction"}},
                     "The prompt of rows without an input; left out, `format`."));
}

void add_learning(std::vector<DatasetKey>& keys) {
  using D = DatasetConfig;
  keys.push_back(key("train_on_inputs", &D::train_on_inputs, OptionalType<BoolType>{},
                     "As the run's key, for this data set."));
  keys.push_back(key("roles_to_train", &D::roles_to_train, OptionalType<NamesType>{},
                     "As the run's key, for this data set."));
  keys.push_back(key("train_on_eos", &D::train_on_eos,
                     OptionalType<ChoiceType<EndTokens>>{end_tokens_type()},
                     "As the run's key, for this data set."));
}

}  // namespace

const std::vector<DatasetKey>& dataset_keys() {
  static const std::vector<DatasetKey> keys = [] {
    std::vector<DatasetKey> all;
    add_places(all);
    add_columns(all);
    add_messages(all);
    add_formats(all);
    add_learning(all);
    return all;
  }();
  return keys;
}

const DatasetKey* find_dataset_key(std::string_view key) {
  for (const DatasetKey& one : dataset_keys()) {
    if (one.name == key || std::ranges::count(one.aliases, key) > 0) return &one;
  }
  return nullptr;
}

}  // namespace tessera::launch
