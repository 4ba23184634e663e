#include "launch/report/run_record.h"

#include <nlohmann/json.hpp>

#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

constexpr size_t kMostEntries = 1000;

/// One object of the file, whose members are read by their types.
class Members {
 public:
  Members(const json& object, const std::string& source) : object_(object), source_(source) {
    if (!object.is_object()) fail("{}: expected an object, got {}", source, object.type_name());
  }

  void read(const char* key, std::string& text) const {
    if (const json* value = find(key, "a text", &json::is_string)) text = *value;
  }
  void read(const char* key, bool& flag) const {
    if (const json* value = find(key, "true or false", &json::is_boolean)) flag = *value;
  }
  void read(const char* key, int64_t& count) const {
    const json* value = find(key, "a whole number", &json::is_number_integer);
    if (!value) return;
    if (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t(INT64_MAX)) {
      fail("{}: {} is too large", source_, key);
    }
    count = *value;
    if (count < 0) fail("{}: {} is negative", source_, key);
  }
  /// Each entry of a list through `read_one`, which takes its Members and the new value.
  template <class T, class ReadOne>
  void read(const char* key, std::vector<T>& list, ReadOne read_one) const {
    const json* value = find(key, "a list", &json::is_array);
    if (!value) return;
    if (value->size() > kMostEntries) fail("{}: {} has more than 1,000 entries", source_, key);
    for (const json& entry : *value) read_one(Members(entry, source_), list.emplace_back());
  }

 private:
  /// Null where the key is left out or null.
  const json* find(const char* key, const char* expected, bool (json::*is)() const noexcept) const {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return nullptr;
    if (!(*found.*is)()) {
      fail("{}: {}: expected {}, got {}", source_, key, expected, found->type_name());
    }
    return &*found;
  }

  const json& object_;
  const std::string& source_;
};

Json to_json(const RunRecord::Dataset& set) {
  return {{"path", set.path},           {"type", io::text_or_null(set.type)},
          {"evaluated", set.evaluated}, {"rows", set.rows},
          {"samples", set.samples},     {"tokens", set.tokens},
          {"learned", set.learned},     {"dropped_long", set.dropped_long},
          {"truncated", set.truncated}, {"dropped_empty", set.dropped_empty}};
}

void read_dataset(const Members& members, RunRecord::Dataset& set) {
  members.read("path", set.path);
  members.read("type", set.type);
  members.read("evaluated", set.evaluated);
  members.read("rows", set.rows);
  members.read("samples", set.samples);
  members.read("tokens", set.tokens);
  members.read("learned", set.learned);
  members.read("dropped_long", set.dropped_long);
  members.read("truncated", set.truncated);
  members.read("dropped_empty", set.dropped_empty);
}

}  // namespace

std::string run_record_json(const RunRecord& record) {
  Json parts = Json::array(), facts = parts, sets = parts;
  for (const auto& part : record.memory_parts) {
    parts.push_back({{"name", part.name}, {"where", part.where}, {"bytes", part.bytes}});
  }
  for (const auto& fact : record.facts) {
    facts.push_back({{"name", fact.name}, {"text", fact.text}});
  }
  for (const auto& set : record.datasets) sets.push_back(to_json(set));
  const Json root = {{"program", record.program},
                     {"started", record.started},
                     {"ended", io::text_or_null(record.ended)},
                     {"steps", record.steps},
                     {"planned_memory", record.memory},
                     {"planned_parts", std::move(parts)},
                     {"facts", std::move(facts)},
                     {"datasets", std::move(sets)}};
  // Paths may be of any bytes.
  return io::json_text(root, 2) + "\n";
}

RunRecord read_run_record(std::string_view text, const std::string& source) {
  const json root = io::parse_json(text, source);
  const Members members(root, source);
  RunRecord record;
  members.read("program", record.program);
  members.read("started", record.started);
  members.read("ended", record.ended);
  members.read("steps", record.steps);
  members.read("planned_memory", record.memory);
  members.read("planned_parts", record.memory_parts, [](const Members& entry, auto& part) {
    entry.read("name", part.name);
    entry.read("where", part.where);
    entry.read("bytes", part.bytes);
  });
  members.read("facts", record.facts, [](const Members& entry, auto& fact) {
    entry.read("name", fact.name);
    entry.read("text", fact.text);
  });
  members.read("datasets", record.datasets, read_dataset);
  return record;
}

}  // namespace tessera::launch
