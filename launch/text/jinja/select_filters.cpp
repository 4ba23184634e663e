// Filters that apply a filter or a test to each item.
#include "launch/text/jinja/filter_arguments.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/operations.h"

namespace tessera::launch::jinja {
namespace {

/// Takes the first of the positional arguments off.
std::optional<Value> take_first(Arguments& arguments) {
  if (arguments.positional.empty()) return std::nullopt;
  Value first = std::move(arguments.positional.front());
  arguments.positional.erase(arguments.positional.begin());
  return first;
}

/// The name of a filter or a test. Failure for anything else.
std::string name_of(const Value& value, const char* what) {
  if (!value.is_string()) raise_error("{}: expected the name of a filter or test", what);
  return value.bytes();
}

void map_attribute(Interpreter& interpreter, const Value& input, const Arguments& arguments,
                   List& results) {
  Value attribute, otherwise;
  for (const auto& [name, value] : arguments.named) {
    if (name.bytes() == "attribute") {
      attribute = value;
    } else if (name.bytes() == "default") {
      otherwise = value;
    } else {
      raise_error("map: unexpected keyword argument '{}'", name.bytes());
    }
  }
  const AttributeGetter get(interpreter, attribute, otherwise);
  Cursor cursor(input);
  while (const auto item = cursor.next()) {
    interpreter.budget().steps(1);
    results.push_back(get(*item));
  }
}

Value map(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return generate([&](List& results) {
    if (!truth(input)) return;
    bool by_attribute = arguments.positional.empty();
    if (by_attribute) {
      by_attribute = false;
      for (const auto& [name, value] : arguments.named) {
        by_attribute = by_attribute || name.bytes() == "attribute";
      }
    }
    if (by_attribute) return map_attribute(interpreter, input, arguments, results);
    const auto name = take_first(arguments);
    if (!name) raise_error("map requires a filter argument");
    Cursor cursor(input);
    while (const auto item = cursor.next()) {
      Arguments copy = arguments;
      results.push_back(interpreter.filter(name_of(*name, "map"), *item, copy));
    }
  });
}

template <bool kWanted, bool kByAttribute>
Value select(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return generate([&](List& results) {
    if (!truth(input)) return;
    Value attribute;
    if (kByAttribute) {
      auto given = take_first(arguments);
      if (!given) raise_error("missing parameter for attribute name");
      attribute = std::move(*given);
    }
    const AttributeGetter get(interpreter, attribute);
    const auto name = take_first(arguments);
    Cursor cursor(input);
    while (const auto item = cursor.next()) {
      interpreter.budget().steps(1);
      const Value value = get(*item);
      Arguments copy = arguments;
      const bool holds =
          name ? interpreter.test(name_of(*name, "select"), value, copy) : truth(value);
      if (holds == kWanted) results.push_back(*item);
    }
  });
}

constexpr NamedFilter kSelectFilters[] = {{"map", map},
                                          {"reject", select<false, false>},
                                          {"rejectattr", select<false, true>},
                                          {"select", select<true, false>},
                                          {"selectattr", select<true, true>}};

}  // namespace

std::span<const NamedFilter> select_filters() { return kSelectFilters; }

}  // namespace tessera::launch::jinja
