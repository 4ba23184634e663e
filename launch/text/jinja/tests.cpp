#include "launch/text/jinja/tests.h"

#include <unordered_map>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

template <bool (*kHolds)(const Value&)>
bool simple(Interpreter&, const Value& input, Arguments& arguments) {
  Parameters("this test", arguments, {});
  return kHolds(input);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is(Kind::kBool); }
bool is_true(const Value& value) { return value.is(Kind::kBool) && value.integer(); }
bool is_false(const Value& value) { return value.is(Kind::kBool) && !value.integer(); }
bool is_integer(const Value& value) { return value.is(Kind::kInt); }
bool is_float(const Value& value) { return value.is(Kind::kFloat); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is(Kind::kDict); }
bool is_escaped(const Value& value) { return value.is_markup(); }
bool is_iterable(const Value& value) { return Cursor::iterates(value) || value.as<Loop>(); }

/// What has a length and items by index: a dict, too, and what is undefined.
bool is_sequence(const Value& value) {
  return value.is_string() || value.is_sequence() || value.is(Kind::kDict) ||
         value.is_undefined() || value.as<Range>();
}

bool is_callable(const Value& value) { return value.is_undefined() || value.as<Callable>(); }

template <int64_t kRest>
bool has_parity(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("this test", arguments, {});
  return equals(compute(input, Arithmetic::kModulo, int64_t{2}, interpreter.budget()), kRest);
}

bool is_divisible(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("divisibleby", arguments, {"num"}, 1);
  return equals(compute(input, Arithmetic::kModulo, given.at(0), interpreter.budget()), int64_t{0});
}

template <bool (*kIs)(string_view)>
bool has_case(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("this test", arguments, {});
  const Text text = str_of(input, interpreter.budget());
  interpreter.budget().bytes(text.size());
  return kIs(text.bytes);
}

bool is_filter(Interpreter&, const Value& input, Arguments& arguments) {
  Parameters("filter", arguments, {});
  hash_of(input);
  return input.is_string() && is_filter_name(input.bytes());
}

bool is_test(Interpreter&, const Value& input, Arguments& arguments) {
  Parameters("test", arguments, {});
  hash_of(input);
  return input.is_string() && find_test(input.bytes());
}

bool is_same(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("sameas", arguments, {"other"}, 1);
  const Value& other = given.at(0);
  if (input.kind() != other.kind()) return false;
  if (input.is_none() || input.is(Kind::kBool)) return equals(input, other);
  if (input.is_number() || input.is_undefined() || input.is_string()) {
    raise_error("'sameas' on values of type {} is not supported", input.type_name());
  }
  return input.same_as(other);
}

bool is_in(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("in", arguments, {"seq"}, 1);
  return contains(given.at(0), input, interpreter.budget());
}

template <bool kEqual>
bool is_equal(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("eq", arguments, {"/other"}, 1);
  interpreter.budget().steps(std::min(input.weight(), given.at(0).weight()));
  return equals(input, given.at(0)) == kEqual;
}

template <Order kOrder>
bool is_ordered(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("lt", arguments, {"/other"}, 1);
  interpreter.budget().steps(std::min(input.weight(), given.at(0).weight()));
  return ordered(input, kOrder, given.at(0));
}

const std::unordered_map<string_view, TestBody>& all_tests() {
  static const std::unordered_map<string_view, TestBody> tests = {
      {"odd", has_parity<1>},
      {"even", has_parity<0>},
      {"divisibleby", is_divisible},
      {"defined", simple<is_defined>},
      {"undefined", simple<is_undefined>},
      {"filter", is_filter},
      {"test", is_test},
      {"none", simple<is_none>},
      {"boolean", simple<is_boolean>},
      {"false", simple<is_false>},
      {"true", simple<is_true>},
      {"integer", simple<is_integer>},
      {"float", simple<is_float>},
      {"lower", has_case<is_lower_text>},
      {"upper", has_case<is_upper_text>},
      {"string", simple<is_string>},
      {"mapping", simple<is_mapping>},
      {"number", simple<is_number>},
      {"sequence", simple<is_sequence>},
      {"iterable", simple<is_iterable>},
      {"callable", simple<is_callable>},
      {"sameas", is_same},
      {"escaped", simple<is_escaped>},
      {"in", is_in},
      {"==", is_equal<true>},
      {"eq", is_equal<true>},
      {"equalto", is_equal<true>},
      {"!=", is_equal<false>},
      {"ne", is_equal<false>},
      {">", is_ordered<Order::kGreater>},
      {"gt", is_ordered<Order::kGreater>},
      {"greaterthan", is_ordered<Order::kGreater>},
      {">=", is_ordered<Order::kGreaterEqual>},
      {"ge", is_ordered<Order::kGreaterEqual>},
      {"<", is_ordered<Order::kLess>},
      {"lt", is_ordered<Order::kLess>},
      {"lessthan", is_ordered<Order::kLess>},
      {"<=", is_ordered<Order::kLessEqual>},
      {"le", is_ordered<Order::kLessEqual>},
  };
  return tests;
}

}  // namespace

TestBody find_test(std::string_view name) {
  const auto it = all_tests().find(name);
  return it == all_tests().end() ? nullptr : it->second;
}

void fail_no_test(std::string_view name) {
  raise_error("there is no test named '{}'", io::printable(name, 40));
}

}  // namespace tessera::launch::jinja
