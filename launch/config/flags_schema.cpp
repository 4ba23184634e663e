#include "launch/config/flags_schema.h"

#include <cmath>

#include "launch/config/dataset_keys.h"
#include "launch/config/dataset_spellings.h"
#include "launch/config/flags.h"
#include "launch/config/foreign_keys.h"

namespace tessera::launch {

namespace {

Schema texts() { return {{"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}}; }

/// A value, or null, which leaves the key out.
Schema or_null(Schema schema) {
  if (schema.empty()) return schema;
  return {{"anyOf", {std::move(schema), Schema{{"type", "null"}}}}};
}

/// A value of the dump as JSON: a number, a boolean, else text.
Schema json_of(const std::string& value) {
  Schema json = Schema::parse(value, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() || json.is_structured() ? Schema(value) : json;
}

Schema property(Schema value, std::string_view help, const std::string& usual) {
  Schema schema = {{"description", help}};
  schema.update(or_null(std::move(value)));
  if (usual != "null") schema["default"] = json_of(usual);
  return schema;
}

Schema alias_of(std::string_view name, const Schema& value) {
  Schema schema = {{"description", fmt::format("Another spelling of {}.", name)}};
  schema.update(or_null(value));
  return schema;
}

/// One value, or several for `tessera search`.
Schema value_of(const Flag& flag) {
  if (!flag.searched) return flag.schema;
  return {{"anyOf", {flag.schema, {{"type", "array"}, {"minItems", 1}, {"items", flag.schema}}}}};
}

/// Keys of other trainers, whose values no schema knows.
void add_foreign(Schema& properties, const std::vector<ForeignKey>& keys) {
  for (const ForeignKey& key : keys) {
    const bool refused = key.use == ForeignUse::kRefused;
    for (const std::string_view name : key.names) {
      if (name.find('.') != name.npos) continue;
      Schema& schema = properties[std::string(name)];
      if (!schema.is_null()) continue;
      if (key.use == ForeignUse::kMeans) {
        schema["description"] = fmt::format("Of another trainer. Means: {}.", key.text);
      } else {
        schema["description"] = fmt::format("Of another trainer. {}: {}.",
                                            refused ? "Not offered" : "Not needed", key.text);
      }
      if (!refused) continue;
      schema["deprecated"] = true;
      schema["enum"] = Schema::array({nullptr, "", false});
      for (const std::string_view value : key.harmless) {
        schema["enum"].push_back(json_of(std::string(value)));
      }
    }
  }
}

/// What others give to our keys is understood too, and a list of trackers.
void add_foreign_values(Schema& properties) {
  for (const ForeignValue& row : foreign_values()) {
    Schema values = Schema::array();
    for (const std::string_view value : row.theirs) values.push_back(json_of(std::string(value)));
    const Flag& flag = *find_flag(row.key);
    std::vector<std::string_view> names = flag.aliases;
    names.push_back(flag.name);
    for (const std::string_view name : names) {
      properties[std::string(name)]["anyOf"].push_back({{"enum", values}});
    }
  }
  properties["report_to"]["anyOf"].push_back(texts());
}

Schema dataset_schema() {
  Schema properties = Schema::object();
  const DatasetConfig usual;
  for (const DatasetKey& key : dataset_keys()) {
    properties[std::string(key.name)] = property(key.schema, key.help, key.write(usual));
    for (const std::string_view alias : key.aliases) {
      properties[std::string(alias)] = alias_of(key.name, key.schema);
    }
  }
  for (const auto& [theirs, ours] : dataset_spellings()) {
    const std::string_view name = theirs.substr(0, theirs.find('.'));
    if (name == theirs || is_spelling_map(name)) {
      properties[std::string(name)]["description"] = "As LLaMA-Factory or axolotl has it.";
    }
  }
  for (const char* name : {"field_thinking", "template_thinking_key"}) {
    properties[name]["description"] = "An entry of message_property_mappings.";
  }
  add_foreign(properties, foreign_dataset_keys());
  return {{"type", "object"}, {"additionalProperties", false}, {"properties", properties}};
}

}  // namespace

Schema schema_of(const TextType&) { return {{"type", {"string", "number"}}}; }
Schema schema_of(const PathType&) { return {{"type", {"string", "number"}}}; }
Schema schema_of(const BoolType&) { return {{"type", "boolean"}}; }
Schema schema_of(const CheckpointingType&) {
  return {{"enum", {"auto", true, false, "offload", "unsloth"}}};
}
Schema schema_of(const FourBitType&) { return {{"enum", {true, false, 4}}}; }

Schema schema_of(const IntType& type) {
  Schema schema = {{"type", "integer"}, {"minimum", type.low}};
  if (type.high < std::numeric_limits<int64_t>::max()) schema["maximum"] = type.high;
  return schema;
}

Schema schema_of(const RealType& type) {
  Schema schema = {{"type", "number"}, {type.above ? "exclusiveMinimum" : "minimum", type.low}};
  if (std::isfinite(type.high)) schema[type.below ? "exclusiveMaximum" : "maximum"] = type.high;
  return schema;
}

Schema schema_of(const ShareOrCountType&) { return {{"type", "number"}, {"minimum", 0}}; }
Schema schema_of(const StepsType&) { return {{"type", "number"}, {"exclusiveMinimum", 0}}; }
Schema schema_of(const SpecialTokensType&) {
  return {{"type", "object"}, {"additionalProperties", {{"type", {"string", "null"}}}}};
}
Schema schema_of(const SizeType&) { return {{"type", "string"}}; }
Schema schema_of(const ModulesType&) { return {{"anyOf", {Schema{{"type", "string"}}, texts()}}}; }
Schema schema_of(const NamesType&) { return schema_of(ModulesType()); }
Schema schema_of(const TextsType&) { return schema_of(ModulesType()); }
Schema schema_of(const TokenIdsType&) { return {{"type", {"array", "object"}}}; }
Schema schema_of(const VariablesType&) { return {{"type", "object"}}; }
Schema schema_of(const SchedulerArgumentsType&) { return {{"type", "object"}}; }
Schema schema_of(const ResumeType&) { return {{"type", {"string", "boolean"}}}; }
Schema schema_of(const DatasetsType&) {
  return {{"type", "array"}, {"minItems", 1}, {"items", {{"$ref", "#/$defs/dataset"}}}};
}

Schema config_schema() {
  Schema properties = Schema::object();
  const Config usual;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      properties[std::string(flag.name)] = property(value_of(flag), flag.help, flag.write(usual));
      for (const std::string_view alias : flag.aliases) {
        properties[std::string(alias)] = alias_of(flag.name, value_of(flag));
      }
    }
  }
  add_foreign_values(properties);
  add_foreign(properties, foreign_keys());
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "A run of Tessera"},
          {"type", "object"},
          {"additionalProperties", false},
          {"properties", properties},
          {"$defs", {{"dataset", dataset_schema()}}}};
}

}  // namespace tessera::launch
