// JSON schemas (draft 2020-12) of the values of keys, for editors: one function for each type of
// flags_types.h. They say what a value of the YAML file may be, a little more loosely than read()
// does where a schema has no word for it.
#pragma once

#include <nlohmann/json.hpp>

#include "launch/config/flags_types.h"
#include "launch/config/scheduler_keys.h"

namespace tessera::launch {

using Schema = nlohmann::ordered_json;

Schema schema_of(const TextType& type);
Schema schema_of(const PathType& type);
Schema schema_of(const BoolType& type);
Schema schema_of(const CheckpointingType& type);
Schema schema_of(const FourBitType& type);
Schema schema_of(const IntType& type);
Schema schema_of(const RealType& type);
Schema schema_of(const ShareOrCountType& type);
Schema schema_of(const StepsType& type);
Schema schema_of(const SpecialTokensType& type);
Schema schema_of(const SizeType& type);
Schema schema_of(const ModulesType& type);
Schema schema_of(const NamesType& type);
Schema schema_of(const TextsType& type);
Schema schema_of(const TokenIdsType& type);
Schema schema_of(const VariablesType& type);
Schema schema_of(const ResumeType& type);
Schema schema_of(const DatasetsType& type);
Schema schema_of(const SchedulerArgumentsType& type);

/// Of a type without one: anything.
template <class Type>
Schema schema_of(const Type&) {
  return Schema::object();
}

template <class Inner>
Schema schema_of(const ModuleValuesType<Inner>& type) {
  return {{"type", "object"}, {"additionalProperties", schema_of(type.inner)}};
}

template <class Inner>
Schema schema_of(const ListType<Inner>& type) {
  return {{"type", "array"}, {"minItems", 1}, {"items", schema_of(type.inner)}};
}

template <class E>
Schema schema_of(const ChoiceType<E>& type) {
  Schema names = Schema::array();
  bool numbers = true;
  for (const Choice<E>& choice : type.choices) {
    names.push_back(choice.name);
    for (const std::string_view synonym : choice.synonyms) names.push_back(synonym);
    for (const char c : choice.name) numbers = numbers && isdigit(c) != 0;
  }
  if (numbers) {
    for (Schema& name : names) name = std::stoll(name.get<std::string>());
  }
  return {{"enum", names}};
}

/// The word that stands for a value left out, too; null is for every key.
template <class Inner>
Schema schema_of(const OptionalType<Inner>& type) {
  Schema inner = schema_of(type.inner);
  if (type.word.empty()) return inner;
  return {{"anyOf", {Schema{{"const", type.word}}, inner}}};
}

/// The schema of a whole config, from the flag table: every key and its aliases with type, range,
/// default and help, those of data sets, and the keys of other trainers that are accepted.
Schema config_schema();

}  // namespace tessera::launch
