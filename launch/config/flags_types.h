// How the value of a key is read from YAML, written back, and described: one small type each.
// read() gives a value in range, or nothing where it has told a fault; write() gives YAML text that
// read() takes back to the same value; "null" stands for a value left out.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/config/config.h"
#include "launch/config/yaml.h"

namespace tessera::launch {

/// A key as the user spelled it, the value given, and where its faults go.
struct Setting {
  std::string_view key;
  const YamlNode& value;
  Faults& faults;

  /// Tells "PLACE: KEY: ..."; the rest as for fmt::format. Gives what a reader returns then.
  template <class... Args>
  std::nullopt_t fault(fmt::format_string<Args...> format, Args&&... args) const {
    faults.add(value.place, "{}: {}", key, fmt::format(format, std::forward<Args>(args)...));
    return std::nullopt;
  }
  /// Tells that WHAT was expected and the value came.
  std::nullopt_t expected(std::string_view what) const;
  /// The scalar's text; null and expected(what) for anything else.
  const std::string* scalar(std::string_view what) const;
};

/// "true", "yes", "on" and their opposites in any case; empty for other text.
std::optional<bool> parse_bool(std::string_view text);
/// Without the blanks around it.
std::string trimmed(std::string_view text);

struct TextType {
  std::optional<std::string> read(const Setting& setting) const;
  std::string write(const std::string& value) const;
  std::string describe() const { return "text"; }
};

/// A path of this machine, with a leading ~ replaced.
struct PathType {
  std::optional<std::string> read(const Setting& setting) const;
  std::string write(const std::string& value) const;
  std::string describe() const { return "a path"; }
};

struct BoolType {
  std::optional<bool> read(const Setting& setting) const;
  std::string write(bool value) const { return value ? "true" : "false"; }
  std::string describe() const { return "true or false"; }
};

/// auto, true or false in any of YAML's spellings, or offload.
struct CheckpointingType {
  std::optional<std::optional<parallel::Policy>> read(const Setting& setting) const;
  std::string write(std::optional<parallel::Policy> value) const;
  std::string describe() const { return "auto, true, false or offload"; }
};

/// load_in_4bit, whose alias quantization_bit says 4 for true.
struct FourBitType : BoolType {
  std::optional<bool> read(const Setting& setting) const;
};

/// More steps, rows or seconds than a run can have.
inline constexpr int64_t kMostSteps = 1'000'000'000;

/// Takes 1_000, 1e3 and 3.0 too; refuses leading zeros, which YAML 1.1 reads as octal.
struct IntType {
  int64_t low = 0;
  int64_t high = std::numeric_limits<int64_t>::max();
  std::optional<int64_t> read(const Setting& setting) const;
  std::string write(int64_t value) const;
  std::string describe() const;
};

struct RealType {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool above = false;  // low itself is out
  bool below = false;  // high itself is out
  std::optional<double> read(const Setting& setting) const;
  std::string write(double value) const;
  std::string describe() const;
};

/// A share, written as a number below 1, or rows, written as a whole number: 1 is one row, 1.0
/// would be all of them.
struct ShareOrCountType : RealType {
  std::optional<double> read(const Setting& setting) const;
  std::string describe() const { return "a share below 1, or a number of rows"; }
};

/// A number of steps, or, below 1, a share of all steps of the run.
struct StepsType : RealType {
  std::optional<double> read(const Setting& setting) const;
  std::string describe() const { return "a number of steps, or a share of all below 1"; }
};

/// A map from bos_token, eos_token and unk_token to tokens. A pad_token is read and left out, as
/// nothing is padded.
struct SpecialTokensType {
  std::optional<NameMap<std::string>> read(const Setting& setting) const;
  std::string write(const NameMap<std::string>& value) const;
  std::string describe() const { return "a map, such as {eos_token: '</s>'}"; }
};

/// Bytes, as 22GiB (binary) or 24GB (decimal); a unit is required.
struct SizeType {
  std::optional<int64_t> read(const Setting& setting) const;
  std::string write(int64_t value) const;
  std::string describe() const { return "a size such as 22GiB"; }
};

/// Names of linear layers: a list, or text with commas, which no regular expression for their paths
/// can have; any other text is one. "all-linear" and "all" give an empty list.
struct ModulesType {
  std::optional<lora::ModuleList> read(const Setting& setting) const;
  std::string write(const lora::ModuleList& value) const;
  std::string describe() const { return "a list of names, a regular expression, or all-linear"; }
};

/// A list of names, or text with commas.
struct NamesType {
  std::optional<std::vector<std::string>> read(const Setting& setting) const;
  std::string write(const std::vector<std::string>& value) const;
  std::string describe() const { return "a list of names"; }
};

/// Texts: a list, or one text, commas and all.
struct TextsType {
  std::optional<std::vector<std::string>> read(const Setting& setting) const;
  std::string write(const std::vector<std::string>& value) const {
    return NamesType{}.write(value);
  }
  std::string describe() const { return "a text or a list of texts"; }
};

/// A list of values of another type, none of them twice.
template <class Inner>
struct ListType {
  using Value = std::vector<decltype(Inner::low)>;
  Inner inner;

  std::optional<Value> read(const Setting& setting) const {
    if (setting.value.kind != YamlNode::Kind::kList || setting.value.items.empty()) {
      return setting.expected(describe());
    }
    Value values;
    bool ok = true;
    for (const YamlNode& item : setting.value.items) {
      const Setting one{setting.key, item, setting.faults};
      const auto value = inner.read(one);
      const bool again = value && std::ranges::count(values, *value) > 0;
      if (again) one.fault("{} stands twice in the list; keep one", inner.write(*value));
      ok = ok && value && !again;
      if (value) values.push_back(*value);
    }
    return ok ? std::optional(values) : std::nullopt;
  }
  std::string write(const Value& value) const {
    std::string out;
    for (const auto& one : value) out += (out.empty() ? "" : ", ") + inner.write(one);
    return value.empty() ? "null" : "[" + out + "]";
  }
  std::string describe() const { return fmt::format("a list, each {}", inner.describe()); }
};

/// Ids of tokens: a list, or a map from embed_tokens to one.
struct TokenIdsType {
  std::optional<std::vector<int64_t>> read(const Setting& setting) const;
  std::string write(const std::vector<int64_t>& value) const;
  std::string describe() const { return "a list of token ids"; }
};

/// A map from modules, by name or by regular expression, to values, whose order counts.
template <class Inner>
struct ModuleValuesType {
  using Value = std::vector<std::pair<std::string, decltype(Inner::low)>>;
  Inner inner;

  std::optional<Value> read(const Setting& setting) const {
    if (setting.value.kind != YamlNode::Kind::kMap) return setting.expected(describe());
    Value values;
    bool ok = true;
    for (const YamlEntry& entry : setting.value.entries) {
      const std::string key = fmt::format("{}: {}", setting.key, one_line(entry.key));
      const Setting one{key, entry.value, setting.faults};
      const std::string fault = lora::pattern_fault(entry.key);
      if (!fault.empty()) one.fault("the regular expression: {}", fault);
      const auto value = inner.read(one);
      ok = ok && value && fault.empty() && !entry.repeated;
      if (value) values.emplace_back(entry.key, *value);
    }
    return ok ? std::optional(values) : std::nullopt;
  }
  std::string write(const Value& value) const {
    return yaml_map(value, [&](const auto& of) { return inner.write(of); });
  }
  std::string describe() const {
    return fmt::format("a map from modules to values, each {}", inner.describe());
  }
};

/// A map of any values: text in quotes stays text, other scalars are what JSON takes them for.
struct VariablesType {
  using Value = nlohmann::ordered_json;
  std::optional<Value> read(const Setting& setting) const;
  std::string write(const Value& value) const;
  std::string describe() const { return "a map, such as {enable_thinking: false}"; }
};

/// auto or a path; true means auto, false means left out.
struct ResumeType {
  std::optional<std::optional<ResumeFrom>> read(const Setting& setting) const;
  std::string write(const std::optional<ResumeFrom>& value) const;
  std::string describe() const { return "auto, or the path of a checkpoint"; }
};

struct DatasetsType {
  std::optional<std::vector<DatasetConfig>> read(const Setting& setting) const;
  std::string write(const std::vector<DatasetConfig>& value) const;
  std::string describe() const { return "a list of data sets"; }
};

inline constexpr std::string_view kNotInThisVersion = "is not in this version";

template <class E>
struct Choice {
  Choice(E v, std::string_view n, std::vector<std::string_view> also = {},
         std::string_view refusal = {})
      : value(v), name(n), synonyms(std::move(also)), lacking(refusal) {}

  E value;
  std::string name;
  std::vector<std::string_view> synonyms;
  std::string_view lacking;  // why this version refuses it, e.g. kNotInThisVersion
};

template <class E>
struct ChoiceType {
  std::vector<Choice<E>> choices;

  std::optional<E> read(const Setting& setting) const {
    const std::string* text = setting.scalar(describe());
    if (text == nullptr) return std::nullopt;
    for (const Choice<E>& choice : choices) {
      const bool synonym = std::ranges::count(choice.synonyms, *text) > 0;
      if (*text == choice.name || synonym) return std::optional<E>(std::in_place, choice.value);
    }
    return setting.expected(describe());
  }
  std::string write(E value) const { return std::string(find(value).name); }
  std::string describe() const {
    std::string out;
    for (const Choice<E>& choice : choices) {
      if (!out.empty()) out += &choice == &choices.back() ? " or " : ", ";
      out += choice.name;
    }
    return out;
  }
  std::string_view lacking(E value) const { return find(value).lacking; }
  /// Synonyms of the choices, and the choices that this version lacks; one sentence each.
  std::string notes() const {
    std::string out;
    for (const Choice<E>& choice : choices) {
      for (const std::string_view synonym : choice.synonyms) {
        out.append(out.empty() ? "" : ", ").append(synonym).append(" for ").append(choice.name);
      }
    }
    if (!out.empty()) out = "Also understood: " + out + ".";
    for (const Choice<E>& choice : choices) {
      if (choice.lacking != kNotInThisVersion) continue;  // others depend on the build
      out.append(out.empty() ? "" : " ").append(choice.name).append(" ").append(choice.lacking);
      out += '.';
    }
    return out;
  }

 private:
  const Choice<E>& find(E value) const {
    return *std::ranges::find(choices, value, &Choice<E>::value);
  }
};

const ChoiceType<EndTokens>& end_tokens_type();

/// A value that may be empty: written as `word`, or, where `word` is empty, by leaving the key out.
template <class Inner>
struct OptionalType {
  Inner inner;
  std::string_view word = {};
  std::string_view word_lacking = {};

  auto read(const Setting& setting) const -> std::optional<decltype(inner.read(setting))> {
    const bool scalar = setting.value.kind == YamlNode::Kind::kScalar;
    auto value = decltype(inner.read(setting))();
    if (word.empty() || !scalar || setting.value.text != word) {
      value = inner.read(setting);
      if (!value) return std::nullopt;
    }
    return std::make_optional(std::move(value));
  }
  template <class T>
  std::string write(const std::optional<T>& value) const {
    if (value) return inner.write(*value);
    return word.empty() ? "null" : std::string(word);
  }
  std::string describe() const {
    return word.empty() ? inner.describe() : fmt::format("{}, or {}", word, inner.describe());
  }
  template <class T>
  std::string_view lacking(const std::optional<T>& value) const {
    if (!value) return word_lacking;
    if constexpr (requires { inner.lacking(*value); }) {
      return inner.lacking(*value);
    } else {
      return {};
    }
  }
  std::string notes() const {
    if constexpr (requires { inner.notes(); }) {
      return inner.notes();
    } else {
      return word_lacking.empty() ? "" : fmt::format("{} {}.", word, word_lacking);
    }
  }
};

}  // namespace tessera::launch
