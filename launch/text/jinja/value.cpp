#include "launch/text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "launch/text/jinja/failure.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

constexpr size_t kFewEntries = 8;  // are found by looking at each

using nlohmann::ordered_json;

Value value_of(const ordered_json& json, int32_t source, int depth);

Text text_of(const std::string& string, int32_t source) {
  if (find_invalid_utf8(string)) raise_error("a string in the data is not UTF-8");
  return Text(string, source);
}

Value container_of(const ordered_json& json, int32_t source, int depth) {
  if (depth > kMaxNesting) raise_error("the data nests more than {} levels", kMaxNesting);
  if (json.is_array()) {
    List items;
    items.reserve(json.size());
    for (const ordered_json& item : json) items.push_back(value_of(item, source, depth));
    return Value::list(std::move(items));
  }
  Dict dict;
  for (const auto& [key, item] : json.items()) {
    dict.set(text_of(key, source), value_of(item, source, depth));
  }
  return dict;
}

Value value_of(const ordered_json& json, int32_t source, int depth) {
  switch (json.type()) {
    case ordered_json::value_t::null:
      return {};
    case ordered_json::value_t::boolean:
      return json.get<bool>();
    case ordered_json::value_t::number_integer:
      return json.get<int64_t>();
    case ordered_json::value_t::number_unsigned:
      if (json.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max())) {
        raise_error("the integer {} in the data is beyond 64 bits", json.get<uint64_t>());
      }
      return json.get<int64_t>();
    case ordered_json::value_t::number_float:
      return json.get<double>();
    case ordered_json::value_t::string:
      return text_of(json.get_ref<const std::string&>(), source);
    case ordered_json::value_t::array:
    case ordered_json::value_t::object:
      return container_of(json, source, depth + 1);
    case ordered_json::value_t::binary:
    case ordered_json::value_t::discarded:
      break;
  }
  raise_error("the data holds what JSON does not know");
}

size_t mix(size_t hash, size_t next) {
  const size_t product = (hash * 31 + next) * 0x9e3779b97f4a7c15u;
  return product ^ product >> 32;
}

}  // namespace

Value::Value(Text text)
    : kind_(Kind::kString), weight_(uint32_t(1 + std::min(text.size(), kMaxTextBytes) / 32)) {
  shared_ = std::make_shared<Text>(std::move(text));
}

Text Value::take_text() && {
  if (shared_.use_count() > 1) return text();
  return std::move(*static_cast<Text*>(const_cast<void*>(shared_.get())));
}

Value::Value(Dict dict) : kind_(Kind::kDict) {
  for (const auto& [key, value] : dict.entries()) {
    contain(key);
    contain(value);
  }
  shared_ = std::make_shared<const Dict>(std::move(dict));
}

Value::Value(std::shared_ptr<Object> object)
    : kind_(Kind::kObject),
      depth_(uint16_t(object->depth())),
      weight_(object->weight()),
      shared_(std::shared_ptr<const void>(std::move(object))) {
  if (depth_ > kMaxNesting) throw LimitFailure("values nest too deeply");
}

void Value::contain(const Value& part) {
  depth_ = std::max(depth_, uint16_t(part.depth_ + 1));
  weight_ += part.weight_;
  if (depth_ > kMaxNesting) {
    throw LimitFailure(fmt::format("values nest more than {} levels", kMaxNesting));
  }
  if (weight_ > kMaxWeight) throw LimitFailure("a value is too large");
}

Value Value::sequence(Kind kind, List items) {
  Value value;
  value.kind_ = kind;
  for (const Value& item : items) value.contain(item);
  value.shared_ = std::make_shared<const List>(std::move(items));
  return value;
}

Value Value::list(List items) { return sequence(Kind::kList, std::move(items)); }

Value Value::tuple(List items) { return sequence(Kind::kTuple, std::move(items)); }

Value Value::group(Value grouper, Value list) {
  Value value = tuple({std::move(grouper), std::move(list)});
  value.special_ = true;
  return value;
}

Value Value::undefined(const std::string* name) {
  Value value;
  value.kind_ = Kind::kUndefined;
  value.scalar_.name = name;
  return value;
}

Value Value::markup(Text text) {
  Value value(std::move(text));
  value.special_ = true;
  return value;
}

Value Value::from_json(const ordered_json& json, int32_t source) {
  return value_of(json, source, 0);
}

const char* Value::type_name() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return object().type_name();
  }
  return "";
}

Text Object::repr(Budget&) const {
  raise_error("a {} has no text: Python prints its place in memory", type_name());
}

template <class Equals>
size_t Dict::position(size_t hash, const Equals& equals) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = mix(0, hash) & mask; slots_[slot]; slot = (slot + 1) & mask) {
    const size_t entry = slots_[slot] - 1;
    if (equals(entries_[entry].first)) return entry;
  }
  return entries_.size();
}

void Dict::insert_slot(size_t entry) {
  const size_t mask = slots_.size() - 1;
  size_t slot = mix(0, hash_of(entries_[entry].first)) & mask;
  while (slots_[slot]) slot = (slot + 1) & mask;
  slots_[slot] = uint32_t(entry + 1);
}

const Value* Dict::find(const Value& key) const {
  const auto same = [&](const Value& other) { return equals(other, key); };
  const size_t hash = hash_of(key);  // for few entries, too: it fails for a list
  if (slots_.empty()) {
    for (const Entry& entry : entries_) {
      if (same(entry.first)) return &entry.second;
    }
    return nullptr;
  }
  const size_t entry = position(hash, same);
  return entry == entries_.size() ? nullptr : &entries_[entry].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto same = [&](const Value& other) { return other.is_string() && other.bytes() == key; };
  if (slots_.empty()) {
    for (const Entry& entry : entries_) {
      if (same(entry.first)) return &entry.second;
    }
    return nullptr;
  }
  const size_t entry = position(std::hash<std::string_view>()(key), same);
  return entry == entries_.size() ? nullptr : &entries_[entry].second;
}

void Dict::set(Value key, Value value) {
  if (const Value* present = find(key)) {
    *const_cast<Value*>(present) = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() <= kFewEntries) return;
  if (entries_.size() * 2 > slots_.size()) {
    slots_.assign(std::max(slots_.size() * 2, 4 * kFewEntries), 0);
    for (size_t entry = 0; entry < entries_.size(); ++entry) insert_slot(entry);
  } else {
    insert_slot(entries_.size() - 1);
  }
}

bool equals(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.integer() == b.integer();
    // The long double holds both exactly; a double would not hold all integers.
    const auto exact = [](const Value& value) {
      return value.is_integer() ? static_cast<long double>(value.integer()) : value.real();
    };
    return exact(a) == exact(b);
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      return a.bytes() == b.bytes();
    case Kind::kList:
    case Kind::kTuple:
      return a.same_as(b) || std::equal(a.items().begin(), a.items().end(), b.items().begin(),
                                        b.items().end(), equals);
    case Kind::kDict:
      return a.same_as(b) || (a.dict().size() == b.dict().size() &&
                              std::all_of(a.dict().entries().begin(), a.dict().entries().end(),
                                          [&](const Dict::Entry& entry) {
                                            const Value* other = b.dict().find(entry.first);
                                            return other && equals(entry.second, *other);
                                          }));
    case Kind::kObject:
      return a.object().equals(b.object());
    case Kind::kUndefined:
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      break;
  }
  return true;  // one None is as another, and numbers were compared above
}

size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<int64_t>()(value.integer());
    case Kind::kFloat: {
      const double real = value.real();
      const bool whole = std::abs(real) < 9e18 && real == std::floor(real);
      return whole ? std::hash<int64_t>()(int64_t(real)) : std::hash<double>()(real);
    }
    case Kind::kString:
      return std::hash<std::string_view>()(value.bytes());
    case Kind::kTuple: {
      size_t hash = 17;
      for (const Value& item : value.items()) hash = mix(hash, hash_of(item));
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
      raise_error("unhashable type: '{}'", value.type_name());
    case Kind::kObject:
      if (!value.object().can_be_hashed()) {
        raise_error("unhashable type: '{}'", value.type_name());
      }
      return std::hash<const Object*>()(&value.object());
    case Kind::kUndefined:
    case Kind::kNone:
      break;
  }
  return size_t(value.kind());
}

}  // namespace tessera::launch::jinja
