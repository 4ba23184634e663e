// How the interpreter looks into values: object.name and object[key].
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/methods.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

std::optional<Value> find_key(const Value& object, const Value& key) {
  const Value* found = nullptr;
  if (key.is_string()) {
    found = object.dict().find(key.bytes());
  } else {
    try {
      found = object.dict().find(key);
    } catch (const Failure&) {  // a list, which Python cannot look for
      return std::nullopt;
    }
  }
  return found ? std::optional<Value>(*found) : std::nullopt;
}

std::optional<Value> item_of_string(const Value& object, int64_t index) {
  const std::string& bytes = object.bytes();
  const bool ascii = is_ascii(bytes);
  const auto length = int64_t(ascii ? bytes.size() : count_points(bytes));
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  const size_t at = ascii ? size_t(index) : offset_of(bytes, size_t(index));
  Text point = object.text().part(at, at + utf8_length(bytes[at]));
  return object.is_markup() ? Value::markup(std::move(point)) : Value(std::move(point));
}

/// object[key], or nothing where Python raises a TypeError or LookupError.
std::optional<Value> subscript(const Value& object, const Value& key, Budget& budget) {
  check_defined(object);
  if (object.is(Kind::kDict)) return find_key(object, key);
  if (!key.is_integer()) return std::nullopt;
  int64_t index = key.integer();
  if (object.is_string()) {
    budget.steps(1 + object.text().size() / 64);
    return item_of_string(object, index);
  }
  if (const auto* range = object.as<Range>()) {
    if (index < 0) index += range->size();
    if (index < 0 || index >= range->size()) return std::nullopt;
    return range->at(index);
  }
  if (!object.is_sequence()) return std::nullopt;
  const auto size = int64_t(object.items().size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return object.items()[size_t(index)];
}

}  // namespace

Value Interpreter::get_item(const Value& object, const Value& key, const std::string* name) {
  if (auto item = subscript(object, key, budget_)) return *std::move(item);
  if (key.is_string()) {
    if (auto attribute = find_attribute(object, key.bytes())) return *std::move(attribute);
  }
  return Value::undefined(name);
}

Value Interpreter::get_attribute(const Value& object, const Value& key, const std::string* name) {
  if (auto attribute = find_attribute(object, key.bytes())) {
    return attribute->is_undefined() ? Value::undefined(name) : *std::move(attribute);
  }
  if (auto item = subscript(object, key, budget_)) return *std::move(item);
  return Value::undefined(name);
}

}  // namespace tessera::launch::jinja
