#include "launch/flags_types.h"

#include <charconv>
#include <cmath>

#include "launch/flags.h"
#include "runtime/core/error.h"

namespace tessera::launch {

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

void Setting::expected(std::string_view what) const {
  std::string got = "nothing";
  if (value.kind == YamlNode::Kind::kList) got = "a list";
  if (value.kind == YamlNode::Kind::kMap) got = "a map";
  if (value.kind == YamlNode::Kind::kScalar) got = shown(value.text);
  fail_usage("{}: {}: expected {}, got {}", value.place.text(), key, what, got);
}

const std::string& Setting::scalar(std::string_view what) const {
  if (value.kind != YamlNode::Kind::kScalar) expected(what);
  return value.text;
}

std::optional<bool> parse_bool(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return char(tolower(c)); });
  if (lower == "true" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "no" || lower == "off") return false;
  return {};
}

std::string TextType::read(const Setting& setting) const {
  const std::string& text = setting.scalar(describe());
  if (text.empty()) setting.expected("text, or nothing after the colon to leave it out");
  if (!setting.value.quoted && parse_bool(text)) {
    setting.expected("text (a name that looks like a boolean goes in quotes)");
  }
  return text;
}

std::string TextType::write(const std::string& value) const {
  return value.empty() ? "null" : yaml_text(value);
}

bool BoolType::read(const Setting& setting) const {
  const std::optional<bool> value = parse_bool(setting.scalar(describe()));
  if (!value) setting.expected(describe());
  return *value;
}

Checkpointing CheckpointingType::read(const Setting& setting) const {
  const std::string& text = setting.scalar(describe());
  if (text == "auto") return Checkpointing::kAuto;
  if (text == "offload" || text == "unsloth") return Checkpointing::kOffload;
  if (const auto yes = parse_bool(text)) return *yes ? Checkpointing::kYes : Checkpointing::kNo;
  setting.expected(describe());
}

std::string CheckpointingType::write(Checkpointing value) const {
  switch (value) {
    case Checkpointing::kAuto:
      return "auto";
    case Checkpointing::kNo:
      return "false";
    case Checkpointing::kYes:
      return "true";
    case Checkpointing::kOffload:
      return "offload";
  }
  return {};
}

bool FourBitType::read(const Setting& setting) const {
  if (setting.key != "quantization_bit") return BoolType::read(setting);
  if (setting.scalar("4") != "4") setting.expected("4");
  return true;
}

int64_t IntType::read(const Setting& setting) const {
  const std::optional<int64_t> value = parse_int(setting.scalar(describe()));
  if (!value || *value < low || *value > high) setting.expected(describe());
  return *value;
}

std::string IntType::write(int64_t value) const { return std::to_string(value); }

std::string IntType::describe() const {
  if (high < std::numeric_limits<int64_t>::max()) {
    const std::string most = high == kMostSteps ? "1e9" : std::to_string(high);
    return fmt::format("a whole number from {} to {}", low, most);
  }
  return fmt::format("a whole number, {} or more", low);
}

double RealType::read(const Setting& setting) const {
  const std::optional<double> value = parse_real(setting.scalar(describe()));
  const bool ok =
      value && (above ? *value > low : *value >= low) && (below ? *value < high : *value <= high);
  if (!ok) setting.expected(describe());
  return *value;
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

double ShareOrCountType::read(const Setting& setting) const {
  const double value = RealType::read(setting);
  if (value >= 1 && (value != std::floor(value) || value > kMostExact)) {
    setting.expected(describe());
  }
  return value;
}

int64_t SizeType::read(const Setting& setting) const {
  std::string text = setting.scalar(describe());
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
  setting.expected("a size with its unit, such as 22GiB or 24GB");
}

std::string SizeType::write(int64_t value) const {
  static constexpr std::string_view kNames[] = {"TiB", "GiB", "MiB", "KiB"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const auto bytes = int64_t(kUnits[i].bytes);
    if (value >= bytes && value % bytes == 0) return fmt::format("{}{}", value / bytes, kNames[i]);
  }
  return fmt::format("{}B", value);
}

lora::ModuleList ModulesType::read(const Setting& setting) const {
  std::vector<std::string> names;
  if (setting.value.kind == YamlNode::Kind::kScalar) {
    const std::string& text = setting.value.text;
    if (lora::is_all_linear(text) || text == "all") return {};
    for (size_t begin = 0; begin <= text.size();) {
      const size_t comma = std::min(text.find(',', begin), text.size());
      names.push_back(trimmed(std::string_view(text).substr(begin, comma - begin)));
      begin = comma + 1;
    }
    if (!text.empty() && !std::ranges::all_of(names, is_module_name)) {
      const std::string fault = lora::pattern_fault(text);
      if (fault.empty()) return {.pattern = text};
      fail_usage("{}: {}: the regular expression {}: {}", setting.value.place.text(), setting.key,
                 shown(text), fault);
    }
  } else if (setting.value.kind == YamlNode::Kind::kList) {
    for (const YamlNode& item : setting.value.items) {
      names.push_back(Setting{setting.key, item}.scalar("the name of a linear layer"));
    }
  }
  if (names.empty()) setting.expected(describe());
  for (size_t i = 0; i < names.size(); ++i) {
    if (!is_module_name(names[i])) {
      fail_usage(
          "{}: {}: {} is not the name of a linear layer, such as q_proj; a regular expression "
          "stands alone, not in a list",
          setting.value.place.text(), setting.key, shown(names[i]));
    }
    if (std::find(names.begin(), names.begin() + ptrdiff_t(i), names[i]) !=
        names.begin() + ptrdiff_t(i)) {
      fail_usage("{}: {}: {} is named twice", setting.value.place.text(), setting.key,
                 shown(names[i]));
    }
  }
  return {.names = names};
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

std::optional<std::string> ResumeType::read(const Setting& setting) const {
  const std::string& text = setting.scalar(describe());
  const std::optional<bool> flag = setting.value.quoted ? std::nullopt : parse_bool(text);
  if (flag) return *flag ? std::optional<std::string>("auto") : std::nullopt;
  return TextType{}.read(setting);
}

std::string ResumeType::write(const std::optional<std::string>& value) const {
  if (value == "auto") return "auto";
  return value ? yaml_text(*value) : "null";
}

namespace {

constexpr std::string_view kDatasetTypes[] = {"alpaca", "chat_template", "completion",
                                              "prompt_completion", "tokenized"};

DatasetConfig read_dataset(const std::string& name, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kMap) {
    Setting{name, node}.expected("a map, such as {path: data.jsonl, type: alpaca}");
  }
  DatasetConfig dataset;
  for (const YamlEntry& entry : node.entries) {
    const std::string key = fmt::format("{}.{}", name, entry.key);
    const Setting setting{key, entry.value};
    if (entry.key != "path" && entry.key != "type") {
      const std::string_view near = nearest_of(entry.key, {"path", "type"});
      fail_usage(
          "{}: {}: unknown key {}; {}", entry.place.text(), name, shown(entry.key),
          near.empty() ? "a dataset has path and type" : fmt::format("did you mean '{}'?", near));
    }
    if (entry.value.kind == YamlNode::Kind::kNull) continue;
    if (entry.key == "path") {
      dataset.path = TextType{}.read(setting);
      continue;
    }
    constexpr std::string_view kWhat =
        "alpaca, chat_template, completion, prompt_completion or tokenized";
    dataset.type = setting.scalar(kWhat);
    if (std::ranges::count(kDatasetTypes, dataset.type) == 0) setting.expected(kWhat);
  }
  if (dataset.path.empty()) fail_usage("{}: {}.path is missing", node.place.text(), name);
  return dataset;
}

}  // namespace

std::vector<DatasetConfig> DatasetsType::read(const Setting& setting) const {
  constexpr std::string_view kWhat = "a list, such as [{path: data.jsonl, type: alpaca}]";
  if (setting.value.kind != YamlNode::Kind::kList || setting.value.items.empty()) {
    setting.expected(kWhat);
  }
  std::vector<DatasetConfig> datasets;
  for (const YamlNode& item : setting.value.items) {
    datasets.push_back(read_dataset(fmt::format("{}.{}", setting.key, datasets.size()), item));
  }
  return datasets;
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
