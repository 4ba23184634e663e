// The flag table: every key of a config with its aliases, type, help and rules, once.
// The parser, the help text, the reference page and the dump all walk it; a default is what
// Config{} holds. A feature that comes in a later version is marked here and nowhere else.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "launch/config/flags_schema.h"
#include "launch/config/flags_types.h"
#include "runtime/core/nearest.h"

namespace tessera::launch {

/// The key makes no sense while `when` holds, because of the key `by`.
struct RuledOut {
  std::string_view by;
  bool (*when)(const Config&);
  std::string_view cure;
};

struct Flag {
  std::string_view name;
  std::string_view help;
  std::string type;          // in words
  std::string notes;         // synonyms of values, and values this version lacks
  Schema schema;             // of its value
  std::string_view example;  // of a key that commands need: a value
  bool searched = false;     // `tessera search` takes a list of values
  std::vector<std::string_view> aliases;
  std::vector<RuledOut> ruled_out;
  std::function<bool(Config&, const Setting&)> read;  // false, and no change, with a fault told
  std::function<std::string(const Config&)> write;
  std::function<std::string(const Setting&)> said;  // what read() takes, as write() would have it
  /// Why this version refuses the value; empty when it does not.
  std::function<std::string_view(const Config&)> lacking;

  Flag&& alias(std::initializer_list<std::string_view> names) &&;
  Flag&& such_as(std::string_view value) &&;
  Flag&& ruled_out_by(std::string_view key, bool (*when)(const Config&), std::string_view cure) &&;
  /// Only the default is accepted in this version.
  Flag&& later() &&;
  /// `tessera search` compares values of this key: they leave the base, the data, the steps and the
  /// measure of the loss as they are.
  Flag&& candidates() &&;

  /// The rule that makes this key meaningless in `config`, or null.
  const RuledOut* rule(const Config& config) const;
};

/// A key whose value follows from other keys: `of` the config gives it. The user's value is read,
/// but not kept; a rule compares the two (rules.cpp).
template <class Of, class Type>
Flag derived_flag(std::string_view name, Of of, Type type, std::string_view help) {
  Flag made;
  made.name = name;
  made.help = help;
  made.type = type.describe();
  made.read = [=](Config&, const Setting& s) { return type.read(s).has_value(); };
  made.write = [=](const Config& config) { return type.write(of(config)); };
  made.said = [=](const Setting& s) {
    const auto value = type.read(s);
    return value ? type.write(*value) : std::string();
  };
  made.lacking = [=](const Config& config) -> std::string_view {
    if constexpr (requires { type.lacking(of(config)); }) {
      return type.lacking(of(config));
    } else {
      return {};
    }
  };
  if constexpr (requires { type.notes(); }) made.notes = type.notes();
  made.schema = schema_of(type);
  return made;
}

template <class T, class Type>
Flag flag(std::string_view name, T Config::*field, Type type, std::string_view help) {
  const auto value_of = [=](const Config& config) -> const T& { return config.*field; };
  Flag made = derived_flag(name, value_of, type, help);
  made.read = [=](Config& config, const Setting& s) {
    auto value = type.read(s);
    if (value) config.*field = std::move(*value);
    return value.has_value();
  };
  return made;
}

struct FlagGroup {
  std::string_view title;
  std::vector<Flag> flags;
};

/// The whole table, in the order of the reference page.
const std::vector<FlagGroup>& flag_groups();

/// Whether a list can be the value of a key.
bool takes_list(const Flag& flag);

/// By name or alias; null when there is none.
const Flag* find_flag(std::string_view key);

/// The known key nearest to `key`, or empty when none is near.
std::string_view nearest_key(std::string_view key);

}  // namespace tessera::launch
