// Filters on single values: numbers, defaults, JSON.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/filter_arguments.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/literals.h"
#include "launch/text/jinja/methods.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"

namespace tessera::launch::jinja {
namespace {

/// Where int(number) fits: nothing for what is not a number, Failure beyond 64 bits.
std::optional<int64_t> whole(double number) {
  if (std::isnan(number)) return std::nullopt;
  if (!(std::abs(number) < 9.2e18)) raise_error("an integer grows beyond 64 bits");
  return int64_t(number);
}

Value abs_filter(Interpreter&, const Value& input, Arguments& arguments) {
  Parameters("abs", arguments, {});
  if (input.is(Kind::kFloat)) return std::abs(input.real());
  if (!input.is_integer()) raise_error("bad operand type for abs(): '{}'", input.type_name());
  return input.integer() < 0 ? negate(input) : Value(input.integer());
}

Value attr(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("attr", arguments, {"name"}, 1);
  check_defined(input);
  return find_attribute(input, given.text(0).bytes).value_or(Value::undefined());
}

Value default_filter(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("default", arguments, {"default_value", "boolean"});
  const bool replaced = input.is_undefined() || (given.truth(1, false) && !truth(input));
  return replaced ? given.get(0, "") : input;
}

Value int_filter(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("int", arguments, {"default", "base"});
  check_defined(input);
  const Value otherwise = given.get(0, int64_t{0});
  if (input.is_integer()) return input.integer();
  std::optional<int64_t> value;
  if (input.is(Kind::kFloat)) {
    value = whole(input.real());
  } else if (input.is_string()) {
    value = parse_integer(input.bytes(), given.integer(1, 10));
    if (!value) {
      const auto number = parse_float(input.bytes());
      if (number && std::isfinite(*number)) value = whole(*number);
    }
  }
  return value ? Value(*value) : otherwise;
}

Value float_filter(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("float", arguments, {"default"});
  check_defined(input);
  if (input.is_number()) return input.number();
  if (input.is_string()) {
    if (const auto number = parse_float(input.bytes())) return *number;
  }
  return given.get(0, 0.0);
}

Value length(Interpreter&, const Value& input, Arguments& arguments) {
  Parameters("length", arguments, {});
  return length_of(input);
}

double parse_printed(const char* printed) { return parse_float(printed).value_or(0); }

/// round(number, digits): to the nearest, ties to even, of the number as it is in binary.
double round_float(double number, int64_t digits) {
  if (!std::isfinite(number) || number == 0 || digits > 323) return number;
  if (digits < -308) return std::copysign(0.0, number);
  char buffer[800];
  if (digits >= 0) {
    std::snprintf(buffer, sizeof buffer, "%.*f", int(digits), number);
    return parse_printed(buffer);
  }
  std::snprintf(buffer, sizeof buffer, "%.17e", number);
  const int exponent = std::atoi(std::strchr(buffer, 'e') + 1);
  const int64_t kept = exponent + 1 + digits;
  if (kept >= 1) {
    std::snprintf(buffer, sizeof buffer, "%.*e", int(kept - 1), number);
    const double rounded = parse_printed(buffer);
    if (std::isinf(rounded)) raise_error("rounded value too large to represent");
    return rounded;
  }
  const double unit = std::pow(10.0, double(-digits));
  return std::copysign(kept == 0 && std::abs(number) > unit / 2 ? unit : 0.0, number);
}

Value round_integer(int64_t number, int64_t digits, Budget& budget) {
  if (digits >= 0 || number == 0) return number;
  if (digits < -18) return int64_t{0};
  int64_t unit = 1;
  for (int64_t i = 0; i < -digits; ++i) unit *= 10;
  const int64_t rest = ((number % unit) + unit) % unit;
  const int64_t down = number - rest;
  const bool up = rest > unit / 2 || (rest == unit / 2 && (down / unit) % 2 != 0);
  return compute(down, Arithmetic::kAdd, up ? unit : int64_t{0}, budget);
}

Value round_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("round", arguments, {"precision", "method"});
  const std::string method = given.find(1) ? given.text(1).bytes : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    raise_error("round: method must be common, ceil or floor");
  }
  if (!input.is_number()) raise_error("round: expected a number, got {}", input.type_name());
  Budget& budget = interpreter.budget();
  if (method == "common") {
    const int64_t digits = given.integer(0, 0);
    if (input.is_integer()) return round_integer(input.integer(), digits, budget);
    return round_float(input.real(), digits);
  }
  const Value scale = compute(int64_t{10}, Arithmetic::kPower, given.get(0, int64_t{0}), budget);
  const Value scaled = compute(input, Arithmetic::kMultiply, scale, budget);
  if (!std::isfinite(scaled.number())) raise_error("cannot convert float to integer");
  const Value cut = scaled.is_integer() ? Value(scaled.integer())
                    : method == "ceil"  ? Value(std::ceil(scaled.real()) + 0.0)
                                        : Value(std::floor(scaled.real()) + 0.0);
  return compute(cut, Arithmetic::kDivide, scale, budget);
}

Value tojson(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("tojson", arguments,
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  Budget& budget = interpreter.budget();
  style.ensure_ascii = given.truth(0, false);
  if (given.find(1) && !given.at(1).is_none()) {
    const Value& indent = given.at(1);
    style.indent =
        indent.is_string() ? indent.text() : repeat(" ", index_of(indent, "tojson"), budget);
    style.item_separator = ",";
  }
  if (given.find(2) && !given.at(2).is_none()) {
    const List separators = to_list(given.at(2), budget);
    if (separators.size() != 2) raise_error("tojson: expected two separators");
    style.item_separator = text_of(separators[0], "tojson");
    style.key_separator = text_of(separators[1], "tojson");
  }
  style.sort_keys = given.truth(3, false);
  return json_of(input, style, budget);
}

Value filesizeformat(Interpreter&, const Value& input, Arguments& arguments) {
  const Parameters given("filesizeformat", arguments, {"binary"});
  check_defined(input);
  const auto parsed = input.is_string() ? parse_float(input.bytes()) : std::nullopt;
  if (!input.is_number() && !parsed) raise_error("filesizeformat: expected a number");
  const double bytes = parsed ? *parsed : input.number();
  const bool binary = given.truth(0, false);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return "1 Byte";
  if (bytes < base) return Text(fmt::format("{} Bytes", whole(bytes).value_or(0)));
  double unit = base;
  std::string_view prefixes = binary ? "KMGTPEZY" : "kMGTPEZY";
  for (const char prefix : prefixes) {
    unit *= base;
    if (bytes < unit || prefix == 'Y') {
      return Text(fmt::format("{:.1f} {}{}", base * bytes / unit, prefix, binary ? "iB" : "B"));
    }
  }
  return {};
}

constexpr NamedFilter kValueFilters[] = {
    {"abs", abs_filter},         {"attr", attr},
    {"count", length},           {"d", default_filter},
    {"default", default_filter}, {"filesizeformat", filesizeformat},
    {"float", float_filter},     {"int", int_filter},
    {"length", length},          {"round", round_filter},
    {"tojson", tojson}};

}  // namespace

std::span<const NamedFilter> value_filters() { return kValueFilters; }

}  // namespace tessera::launch::jinja
