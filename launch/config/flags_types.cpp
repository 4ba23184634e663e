#include "launch/config/flags_types.h"

#include <charconv>
#include <cmath>

#include "launch/config/flags.h"
#include "launch/config/user_path.h"

namespace tessera::launch {

using parallel::Policy;

namespace {

// Integers beyond this are not exact in the doubles that 1e3 and 3.0 go through.
constexpr double kMostExact = 9007199254740992.0;

/// Digits without the underscores between them; empty when one is out of place, or for "+-1".
std::string plain_number(std::string_view text) {
  std::string out;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.starts_with("-+")) return {};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](size_t at) { return at < text.size() && isdigit(text[at]) != 0; };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return {};
  }
  return out;
}

/// A finite number, or empty.
std::optional<double> parse_real(std::string_view text) {
  const std::string digits = plain_number(text);
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (digits.empty() || error != std::errc{} || stop != end || !std::isfinite(value)) return {};
  return value;
}

/// An integer; an integral real such as 1e3 or 3.0 too; no leading zeros.
std::optional<int64_t> parse_int(std::string_view text) {
  const std::string digits = plain_number(text);
  const size_t first = digits.starts_with('-') ? 1 : 0;
  if (digits.size() > first + 1 && digits[first] == '0' && isdigit(digits[first + 1]) != 0) {
    return {};
  }
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (!digits.empty() && error == std::errc{} && stop == end) return value;
  const std::optional<double> real = parse_real(text);
  if (!real || *real != std::floor(*real) || std::abs(*real) > kMostExact) return {};
  return int64_t(*real);
}

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"tib", 1099511627776.0},
                           {"gib", 1073741824.0},
                           {"mib", 1048576.0},
                           {"kib", 1024.0},
                           {"tb", 1e12},
                           {"gb", 1e9},
                           {"mb", 1e6},
                           {"kb", 1e3},
                           {"b", 1}};

/// A name of a module: parts of letters, digits and underscores, with dots between.
bool is_module_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return isalnum(c) || c == '_' || c == '.';
  });
}

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
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

std::optional<bool> FourBitType::read(const Setting& setting) const {
  if (setting.key != "quantization_bit") return BoolType::read(setting);
  const std::string* text = setting.scalar("4");
  if (text == nullptr) return std::nullopt;
  if (*text != "4") return setting.expected("4");
  return true;
}

std::optional<int64_t> IntType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<int64_t> value = parse_int(*text);
  if (!value || *value < low || *value > high) return setting.expected(describe());
  return value;
}

std::string IntType::write(int64_t value) const { return std::to_string(value); }

std::string IntType::describe() const {
  if (high < std::numeric_limits<int64_t>::max()) {
    const std::string most = high == kMostSteps ? "1e9" : std::to_string(high);
    return fmt::format("a whole number from {} to {}", low, most);
  }
  return fmt::format("a whole number, {} or more", low);
}

std::optional<double> RealType::read(const Setting& setting) const {
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<double> value = parse_real(*text);
  const bool ok =
      value && (above ? *value > low : *value >= low) && (below ? *value < high : *value <= high);
  return ok ? value : setting.expected(describe());
}

std::string RealType::write(double value) const {
  std::string out = fmt::format("{}", value);
  // YAML 1.1 readers take 1e-08 for text and 1.0e-08 for a number.
  const size_t exponent = out.find('e');
  if (exponent != std::string::npos && out.find('.') == std::string::npos) {
    out.insert(exponent, ".0");
  }
  return out;
}

std::string RealType::describe() const {
  std::string out =
      above ? fmt::format("a number above {}", low) : fmt::format("a number, {} or more", low);
  if (std::isfinite(high)) out += fmt::format(", {} {}", below ? "below" : "at most", high);
  return out;
}

std::optional<double> ShareOrCountType::read(const Setting& setting) const {
  const std::optional<double> value = RealType::read(setting);
  if (!value || *value < 1) return value;
  if (*value != std::floor(*value) || *value > kMostExact) return setting.expected(describe());
  if (*value == 1 && setting.value.text.find_first_of(".eE") != std::string::npos) {
    return setting.fault(
        "{} is the share of all rows, which leaves nothing to train on; a share is below 1, and 1 "
        "is one row",
        shown(setting.value.text));
  }
  return value;
}

std::optional<int64_t> SizeType::read(const Setting& setting) const {
  const std::string* written = setting.scalar(describe());
  if (written == nullptr) return std::nullopt;
  std::string text = *written;
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(tolower(c)); });
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const std::string number = trimmed(text.substr(0, text.size() - unit.name.size()));
    const std::optional<int64_t> whole = parse_int(number);
    if (whole && *whole >= 0 && double(*whole) < 8e18 / unit.bytes) {
      return *whole * int64_t(unit.bytes);
    }
    const std::optional<double> real = parse_real(number);
    if (!real || *real < 0 || *real * unit.bytes > kMostExact) break;
    return int64_t(std::llround(*real * unit.bytes));
  }
  return setting.expected("a size with its unit, such as 22GiB or 24GB");
}

std::string SizeType::write(int64_t value) const {
  static constexpr std::string_view kNames[] = {"TiB", "GiB", "MiB", "KiB"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const auto bytes = int64_t(kUnits[i].bytes);
    if (value >= bytes && value % bytes == 0) return fmt::format("{}{}", value / bytes, kNames[i]);
  }
  return fmt::format("{}B", value);
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
  std::string out;
  for (const std::string& name : value.names) {
    if (!out.empty()) out += ", ";
    out += yaml_text(name);
  }
  return value.empty() ? "null" : "[" + out + "]";
}

std::optional<std::optional<std::string>> ResumeType::read(const Setting& setting) const {
  using Value = std::optional<std::string>;
  const std::string* text = setting.scalar(describe());
  if (text == nullptr) return std::nullopt;
  const std::optional<bool> flag = setting.value.quoted ? std::nullopt : parse_bool(*text);
  if (flag) return std::make_optional(*flag ? Value("auto") : Value());
  if (*text == "auto") return std::make_optional(Value("auto"));
  Value path = PathType{}.read(setting);
  return path ? std::make_optional(std::move(path)) : std::nullopt;
}

std::string ResumeType::write(const std::optional<std::string>& value) const {
  if (value == "auto") return "auto";
  return value ? yaml_text(*value) : "null";
}

namespace {

constexpr std::string_view kDatasetTypes[] = {"alpaca", "chat_template", "completion",
                                              "prompt_completion", "tokenized"};

std::optional<std::string> read_dataset_type(const Setting& setting) {
  constexpr std::string_view kWhat =
      "alpaca, chat_template, completion, prompt_completion or tokenized";
  const std::string* type = setting.scalar(kWhat);
  if (type == nullptr) return std::nullopt;
  if (std::ranges::count(kDatasetTypes, *type) == 0) return setting.expected(kWhat);
  return *type;
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
    if (entry.key == "path" || entry.key == "type") {
      if (entry.value.kind == YamlNode::Kind::kNull) continue;
      const bool path = entry.key == "path";
      const auto text = path ? PathType{}.read(inner) : read_dataset_type(inner);
      (path ? dataset.path : dataset.type) = text.value_or("");
      path_given = path_given || path;
      ok = ok && text;
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
    if (!dataset.type.empty()) out += fmt::format("\n    type: {}", yaml_text(dataset.type));
  }
  return out;
}

}  // namespace tessera::launch
