#include "launch/config/flags.h"

#include <algorithm>
#include <map>

#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

std::map<std::string_view, const Flag*> index_of_flags() {
  std::map<std::string_view, const Flag*> index;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      TESSERA_CHECK(index.emplace(flag.name, &flag).second);
      for (const std::string_view alias : flag.aliases) {
        TESSERA_CHECK(index.emplace(alias, &flag).second);
      }
    }
  }
  return index;
}

const std::map<std::string_view, const Flag*>& flag_index() {
  static const std::map<std::string_view, const Flag*> index = index_of_flags();
  return index;
}

bool allows_array(const Schema& schema) {
  const Schema type = schema.value("type", Schema());
  return type == "array" || std::ranges::count(type, Schema("array")) > 0 ||
         std::ranges::any_of(schema.value("anyOf", Schema::array()), allows_array);
}

}  // namespace

bool takes_list(const Flag& flag) { return allows_array(flag.schema); }

Flag&& Flag::alias(std::initializer_list<std::string_view> names) && {
  aliases = names;
  return std::move(*this);
}

Flag&& Flag::such_as(std::string_view value) && {
  example = value;
  return std::move(*this);
}

Flag&& Flag::ruled_out_by(std::string_view key, bool (*when)(const Config&),
                          std::string_view cure) && {
  ruled_out.push_back({key, when, cure});
  return std::move(*this);
}

Flag&& Flag::later() && {
  notes = fmt::format("Any value but the default {}.", kNotInThisVersion);
  lacking = [write = write](const Config& config) {
    return write(config) == write(Config{}) ? std::string_view{} : kNotInThisVersion;
  };
  return std::move(*this);
}

Flag&& Flag::candidates() && {
  searched = true;
  return std::move(*this);
}

const RuledOut* Flag::rule(const Config& config) const {
  for (const RuledOut& rule : ruled_out) {
    if (rule.when(config)) return &rule;
  }
  return nullptr;
}

const Flag* find_flag(std::string_view key) {
  const auto found = flag_index().find(key);
  return found == flag_index().end() ? nullptr : found->second;
}

std::string_view nearest_key(std::string_view key) {
  std::vector<std::string_view> known;
  for (const auto& [name, flag] : flag_index()) known.push_back(name);
  return nearest_of(key, known);
}

}  // namespace tessera::launch
