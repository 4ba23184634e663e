#include "launch/config/flags_types.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "launch/config/user_path.h"

namespace tessera::launch {

using parallel::Policy;

namespace {

/// A name of a module: parts of letters, digits and underscores, with dots between.
bool is_module_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return isalnum(c) || c == '_' || c == '.';
  });
}

}  // namespace

std::nullopt_t Setting::expected(std::string_view what) const {
  std::string got = "nothing";
  if (value.kind == YamlNode::Kind::kFaulty) return std::nullopt;
  if (value.kind == YamlNode::Kind::kList) got = "a list";
  if (value.kind == YamlNode::Kind::kMap) got = "a map";
  if (value.kind == YamlNode::Kind::kScalar) got = shown(value.text);
  return fault("expected {}, got {}", what, got);
}

const std::string* Setting::scalar(std::string_view what) const {
  if (value.kind == YamlNode::Kind::kScalar) return &value.text;
  expected(what);
  return nullptr;
}

std::optional<bool> parse_bool(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return char(tolower(c)); });
  if (lower == "true" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "no" || lower == "off") return false;
  return {};
}

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

std::optional<std::string> TextType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  if (text->empty()) return setting.expected("text, or nothing after the colon to leave it out");
  if (!setting.value.quoted && parse_bool(*text)) {
    return setting.expected("text (a name that looks like a boolean goes in quotes)");
  }
  return *text;
}

std::string TextType::write(const std::string& value) const {
  return value.empty() ? "null" : yaml_text(value);
}

std::optional<std::string> PathType::read(const Setting& setting) const {
  const std::optional<std::string> text = TextType{}.read(setting);
  if (!text) return std::nullopt;
  const UserPath path = read_user_path(*text);
  if (!path.fault.empty()) return setting.fault("{}", path.fault);
  return path.path;
}

std::string PathType::write(const std::string& value) const { return TextType{}.write(value); }

std::optional<bool> BoolType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<bool> value = parse_bool(*text);
  return value ? value : setting.expected(describe());
}

std::optional<std::optional<Policy>> CheckpointingType::read(const Setting& setting) const {
  using Value = std::optional<Policy>;
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  if (*text == "auto") return std::make_optional(Value());
  if (*text == "offload" || *text == "unsloth") return std::make_optional(Value(Policy::kOffload));
  if (const auto yes = parse_bool(*text)) {
    return std::make_optional(Value(*yes ? Policy::kRecompute : Policy::kKeep));
  }
  return setting.expected(describe());
}

std::string CheckpointingType::write(std::optional<Policy> value) const {
  if (!value) return "auto";
  switch (*value) {
    case Policy::kKeep:
      return "false";
    case Policy::kRecompute:
      return "true";
    case Policy::kOffload:
      return "offload";
  }
  return {};
}

const ChoiceType<EndTokens>& end_tokens_type() {
  static const ChoiceType<EndTokens> type = {
      {{EndTokens::kTurn, "turn"}, {EndTokens::kAll, "all"}, {EndTokens::kLast, "last"}}};
  return type;
}

std::optional<bool> FourBitType::read(const Setting& setting) const {
  if (setting.key != "quantization_bit") return BoolType::read(setting);
  const std::string* text = setting.scalar("4");
  if (text == nullptr) return std::nullopt;
  if (*text != "4") return setting.expected("4");
  return true;
}

std::optional<lora::ModuleList> ModulesType::read(const Setting& setting) const {
  std::vector<std::string> names;
  bool ok = true;
  if (setting.value.kind == YamlNode::Kind::kScalar) {
    const std::string& text = setting.value.text;
    if (lora::is_all_linear(text) || text == "all") return lora::ModuleList{};
    for (size_t begin = 0; begin <= text.size();) {
      const size_t comma = std::min(text.find(',', begin), text.size());
      names.push_back(trimmed(std::string_view(text).substr(begin, comma - begin)));
      begin = comma + 1;
    }
    if (!text.empty() && !std::ranges::all_of(names, is_module_name)) {
      const std::string fault = lora::pattern_fault(text);
      if (fault.empty()) return lora::ModuleList{.pattern = text};
      return setting.fault("the regular expression {}: {}", shown(text), fault);
    }
  } else if (setting.value.kind == YamlNode::Kind::kList) {
    for (const YamlNode& item : setting.value.items) {
      const Setting one{setting.key, item, setting.faults};
      const std::string* name = one.scalar("the name of a linear layer");
      ok = ok && name != nullptr;
      if (name != nullptr) names.push_back(*name);
    }
  }
  if (names.empty() && ok) return setting.expected(describe());
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (!is_module_name(*name)) {
      setting.fault(
          "{} is not the name of a linear layer, such as q_proj; a regular expression stands "
          "alone, not in a list",
          shown(*name));
    } else if (std::find(names.begin(), name, *name) != name) {
      setting.fault("{} is named twice", shown(*name));
    } else {
      continue;
    }
    ok = false;
  }
  return ok ? std::optional(lora::ModuleList{.names = names}) : std::nullopt;
}

std::string ModulesType::write(const lora::ModuleList& value) const {
  if (!value.pattern.empty()) return yaml_text(value.pattern);
  return NamesType{}.write(value.names);
}

std::optional<std::vector<std::string>> NamesType::read(const Setting& setting) const {
  const std::optional<lora::ModuleList> list = ModulesType{}.read(setting);
  if (!list) return std::nullopt;
  if (list->names.empty()) return setting.expected(describe());
  return list->names;
}

std::optional<std::vector<std::string>> TextsType::read(const Setting& setting) const {
  std::vector<YamlNode> items = setting.value.items;
  if (setting.value.kind == YamlNode::Kind::kScalar) items = {setting.value};
  std::vector<std::string> texts;
  for (const YamlNode& item : items) {
    if (item.kind != YamlNode::Kind::kScalar || item.text.empty()) {
      return setting.expected(describe());
    }
    texts.push_back(item.text);
  }
  if (texts.empty()) return setting.expected(describe());
  return texts;
}

std::string NamesType::write(const std::vector<std::string>& value) const {
  std::string out;
  for (const std::string& name : value) {
    if (!out.empty()) out += ", ";
    out += yaml_text(name);
  }
  return value.empty() ? "null" : "[" + out + "]";
}

namespace {

using Variables = VariablesType::Value;

/// A number, a boolean or null as JSON spells it, and Python's and YAML's True; else text.
Variables variable_of(const YamlNode& node) {
  if (node.quoted) return node.text;
  const Variables value = Variables::parse(node.text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_discarded() && !value.is_structured()) return value;
  if (node.text == "True" || node.text == "TRUE") return true;
  if (node.text == "False" || node.text == "FALSE") return false;
  return node.text;
}

Variables variables_of(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kScalar:
      return variable_of(node);
    case YamlNode::Kind::kList: {
      Variables list = Variables::array();
      for (const YamlNode& item : node.items) list.push_back(variables_of(item));
      return list;
    }
    case YamlNode::Kind::kMap: {
      Variables map = Variables::object();
      for (const YamlEntry& entry : node.entries) map[entry.key] = variables_of(entry.value);
      return map;
    }
    case YamlNode::Kind::kNull:
    case YamlNode::Kind::kFaulty:
      break;
  }
  return nullptr;
}

/// In YAML's flow style, which is JSON with blanks.
std::string flow_of(const Variables& value) {
  if (!value.is_structured()) return value.dump();
  std::string out;
  for (const auto& [key, inner] : value.items()) {
    out += out.empty() ? "" : ", ";
    if (value.is_object()) out += Variables(key).dump() + ": ";
    out += flow_of(inner);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

}  // namespace

std::optional<VariablesType::Value> VariablesType::read(const Setting& setting) const {
  if (setting.value.kind != YamlNode::Kind::kMap) return setting.expected(describe());
  return variables_of(setting.value);
}

std::string VariablesType::write(const Value& value) const {
  return value.empty() ? "null" : flow_of(value);
}

std::optional<std::vector<int64_t>> TokenIdsType::read(const Setting& setting) const {
  const YamlNode* list = &setting.value;
  if (list->kind == YamlNode::Kind::kMap) {
    for (const YamlEntry& entry : list->entries) {
      if (entry.repeated) return std::nullopt;
      if (entry.key == "embed_tokens" || entry.key.ends_with(".embed_tokens")) continue;
      return setting.fault("only rows of embed_tokens can be trained, not of {}", shown(entry.key));
    }
    if (list->entries.size() != 1) return setting.expected(describe());
    list = &list->entries.front().value;
  }
  if (list->kind != YamlNode::Kind::kList || list->items.empty()) {
    return Setting{setting.key, *list, setting.faults}.expected(describe());
  }
  std::vector<int64_t> ids;
  bool ok = true;
  for (const YamlNode& item : list->items) {
    const std::optional<int64_t> id = IntType{}.read({setting.key, item, setting.faults});
    ok = ok && id;
    if (id) ids.push_back(*id);
  }
  return ok ? std::optional(ids) : std::nullopt;
}

std::string TokenIdsType::write(const std::vector<int64_t>& value) const {
  return value.empty() ? "null" : fmt::format("[{}]", fmt::join(value, ", "));
}

std::optional<NameMap<std::string>> SpecialTokensType::read(const Setting& setting) const {
  static constexpr std::string_view kNames[] = {"bos_token", "eos_token", "unk_token"};
  if (setting.value.kind != YamlNode::Kind::kMap) return setting.expected(describe());
  NameMap<std::string> tokens;
  bool ok = true;
  for (const YamlEntry& entry : setting.value.entries) {
    const std::string key = fmt::format("{}.{}", setting.key, one_line(entry.key));
    const Setting one{key, entry.value, setting.faults};
    ok = ok && !entry.repeated;
    if (entry.value.kind == YamlNode::Kind::kNull) continue;
    if (entry.key == "pad_token") {
      setting.faults.note(entry.place, "{}: not needed here: nothing is padded", key);
    } else if (std::ranges::count(kNames, entry.key) == 0) {
      ok = false;
      one.fault("tokens cannot be added or changed; only {} are known", fmt::join(kNames, ", "));
    } else if (const std::string* token = one.scalar("a token")) {
      tokens.emplace_back(entry.key, *token);
    } else {
      ok = false;
    }
  }
  return ok ? std::optional(tokens) : std::nullopt;
}

std::string SpecialTokensType::write(const NameMap<std::string>& value) const {
  return yaml_map(value, yaml_text);
}

std::optional<std::optional<ResumeFrom>> ResumeType::read(const Setting& setting) const {
  using Value = std::optional<ResumeFrom>;
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<bool> flag = setting.value.quoted ? std::nullopt : parse_bool(*text);
  if (flag) return std::make_optional(*flag ? Value(ResumeFrom{}) : Value());
  if (*text == "auto") return std::make_optional(Value(ResumeFrom{}));
  const std::optional<std::string> path = PathType{}.read(setting);
  return path ? std::make_optional(Value(ResumeFrom{*path})) : std::nullopt;
}

std::string ResumeType::write(const std::optional<ResumeFrom>& value) const {
  if (!value) return "null";
  return value->is_auto() ? "auto" : yaml_text(value->path);
}

}  // namespace tessera::launch
