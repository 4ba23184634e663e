#include "launch/text/jinja/methods.h"

#include <algorithm>
#include <unordered_map>

#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;
using Methods = std::unordered_map<string_view, MethodBody>;

// -- dict ------------------------------------------------------------------------------------

Value dict_get(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters given("get", arguments, {"/key", "/default"}, 1);
  const Value* found = self.dict().find(given.at(0));
  return found ? *found : given.get(1, {});
}

template <DictView::Part kPart>
Value dict_view(Interpreter&, const Value& self, Arguments& arguments) {
  Parameters("keys", arguments, {});
  return std::make_shared<DictView>(self, kPart);
}

Value copy(Interpreter&, const Value& self, Arguments& arguments) {
  Parameters("copy", arguments, {});
  return self;  // a copy cannot be told from what never changes
}

Value dict_from_keys(Interpreter& interpreter, const Value&, Arguments& arguments) {
  const Parameters given("fromkeys", arguments, {"/iterable", "/value"}, 1);
  Dict dict;
  for (Value& key : to_list(given.at(0), interpreter.budget())) {
    dict.set(std::move(key), given.get(1, {}));
  }
  return dict;
}

const Methods kDictMethods = {{"copy", copy},
                              {"fromkeys", dict_from_keys},
                              {"get", dict_get},
                              {"items", dict_view<DictView::Part::kItems>},
                              {"keys", dict_view<DictView::Part::kKeys>},
                              {"values", dict_view<DictView::Part::kValues>}};

// -- list, tuple, range ----------------------------------------------------------------------

Value sequence_count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("count", arguments, {"/value"}, 1);
  const List items = to_list(self, interpreter.budget());
  return int64_t(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    interpreter.budget().steps(std::min(item.weight(), given.at(0).weight()));
    return equals(item, given.at(0));
  }));
}

Value sequence_index(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("index", arguments, {"/value", "/start", "/stop"}, 1);
  const List items = to_list(self, interpreter.budget());
  const auto size = int64_t(items.size());
  const auto from_front = [&](int64_t index) {
    return std::clamp<int64_t>(index < 0 ? index + size : index, 0, size);
  };
  const int64_t stop = from_front(given.integer(2, size));
  for (int64_t i = from_front(given.integer(1, 0)); i < stop; ++i) {
    interpreter.budget().steps(std::min(items[size_t(i)].weight(), given.at(0).weight()));
    if (equals(items[size_t(i)], given.at(0))) return i;
  }
  raise_error("the value is not in the {}", self.type_name());
}

const Methods kListMethods = {{"copy", copy}, {"count", sequence_count}, {"index", sequence_index}};
const Methods kTupleMethods = {{"count", sequence_count}, {"index", sequence_index}};

// -- loop and cycler -------------------------------------------------------------------------

Value loop_cycle(Interpreter&, const Value& self, Arguments& arguments) {
  if (!arguments.named.empty()) raise_error("loop.cycle takes no keyword arguments");
  return self.as<Loop>()->cycle(arguments.positional);
}

Value loop_changed(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (!arguments.named.empty()) raise_error("loop.changed takes no keyword arguments");
  for (const Value& value : arguments.positional) interpreter.budget().steps(value.weight());
  return self.as<Loop>()->changed(arguments.positional);
}

const Methods kLoopMethods = {{"changed", loop_changed}, {"cycle", loop_cycle}};

Value cycler_next(Interpreter&, const Value& self, Arguments& arguments) {
  Parameters("next", arguments, {});
  auto* cycler = self.as<Cycler>();
  const List& items = cycler->items.items();
  Value current = items[cycler->position];
  cycler->position = (cycler->position + 1) % items.size();
  return current;
}

Value cycler_reset(Interpreter&, const Value& self, Arguments& arguments) {
  Parameters("reset", arguments, {});
  self.as<Cycler>()->position = 0;
  return {};
}

const Methods kCyclerMethods = {{"next", cycler_next}, {"reset", cycler_reset}};

/// The methods of a value's type, or null.
const Methods* methods_of(const Value& self) {
  switch (self.kind()) {
    case Kind::kDict:
      return &kDictMethods;
    case Kind::kList:
      return &kListMethods;
    case Kind::kTuple:
      return &kTupleMethods;
    case Kind::kObject:
      if (self.as<Loop>()) return &kLoopMethods;
      if (self.as<Cycler>()) return &kCyclerMethods;
      return self.as<Range>() ? &kTupleMethods : nullptr;
    case Kind::kUndefined:
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kString:
    default:
      return nullptr;
  }
}

bool is_one_of(string_view name, std::initializer_list<string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Attributes that Python has, but that change the value or lead out of the sandbox.
bool is_withheld(const Value& self, string_view name) {
  if (self.is(Kind::kDict)) {
    return is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"});
  }
  return self.is(Kind::kList) && is_one_of(name, {"append", "clear", "extend", "insert", "pop",
                                                  "remove", "reverse", "sort"});
}

std::optional<Value> number_attribute(const Value& self, string_view name) {
  const bool integer = self.is_integer();
  if (name == "real") return integer ? Value(self.integer()) : self;
  if (name == "imag") return integer ? Value(int64_t{0}) : Value(0.0);
  if (integer && name == "numerator") return self.integer();
  if (integer && name == "denominator") return int64_t{1};
  if (is_one_of(name, {"as_integer_ratio", "conjugate"}) ||
      (integer ? is_one_of(name, {"bit_count", "bit_length", "from_bytes", "to_bytes"})
               : is_one_of(name, {"fromhex", "hex", "is_integer"}))) {
    raise_error("the attribute '{}' of numbers is not supported", name);
  }
  return std::nullopt;
}

std::optional<Value> macro_attribute(const Function& function, string_view name) {
  if (name == "name") return function.name.empty() ? Value() : Value(Text(function.name));
  if (name == "arguments") {
    List names;
    for (const std::string& parameter : function.parameters) names.push_back(Text(parameter));
    return Value::tuple(std::move(names));
  }
  if (name == "catch_kwargs") return function.kwargs >= 0;
  if (name == "catch_varargs") return function.varargs >= 0;
  if (name == "caller") return function.caller >= 0;
  if (name == "explicit_caller") return function.explicit_caller;
  return std::nullopt;
}

std::optional<Value> object_attribute(const Value& self, string_view name) {
  if (const auto* space = self.as<Namespace>()) {
    const Value* value = space->attributes.find(name);
    return value ? std::optional<Value>(*value) : std::nullopt;
  }
  if (auto* loop = self.as<Loop>()) return loop->attribute(name);
  if (const auto* macro = self.as<Macro>()) return macro_attribute(macro->function(), name);
  if (const auto* range = self.as<Range>()) {
    if (name == "start") return range->start;
    if (name == "stop") return range->stop;
    if (name == "step") return range->step;
  } else if (const auto* cycler = self.as<Cycler>()) {
    if (name == "current") return cycler->items.items()[cycler->position];
    if (name == "items") return cycler->items;
    if (name == "pos") return int64_t(cycler->position);
  } else if (self.as<DictView>() && is_one_of(name, {"isdisjoint", "mapping"})) {
    raise_error("the attribute '{}' of views is not supported", name);
  }
  return std::nullopt;
}

}  // namespace

MethodBody find_method(const Value& self, std::string_view name) {
  if (self.is_string()) return find_string_method(name);
  const Methods* methods = methods_of(self);
  if (!methods) return nullptr;
  const auto it = methods->find(name);
  return it == methods->end() ? nullptr : it->second;
}

std::optional<Value> find_attribute(const Value& self, std::string_view name) {
  if (const MethodBody method = find_method(self, name)) {
    return Value(std::make_shared<BoundMethod>(self, method));
  }
  if (is_withheld(self, name)) return Value::undefined();
  if (self.is_number()) return number_attribute(self, name);
  if (self.is_group()) {
    if (name == "grouper") return self.items()[0];
    if (name == "list") return self.items()[1];
  }
  return self.is(Kind::kObject) ? object_attribute(self, name) : std::nullopt;
}

}  // namespace tessera::launch::jinja
