#include "launch/text/jinja/arithmetic.h"

#include <cmath>
#include <limits>
#include <optional>

#include "launch/text/jinja/fill_in.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/strings.h"

namespace tessera::launch::jinja {
namespace {

constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void fail_overflow() { raise_error("an integer grows beyond 64 bits"); }

Value power_of_integers(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) raise_error("0.0 cannot be raised to a negative power");
    return std::pow(double(base), double(exponent));
  }
  int64_t result = 1;
  while (true) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
}

/// Both rounded down, the sign of the remainder that of `b`.
Value divide_integers(int64_t a, int64_t b, bool remainder) {
  if (b == 0) raise_error("integer division or modulo by zero");
  if (b == -1) {  // a / b overflows for one a
    if (remainder) return int64_t{0};
    if (a == std::numeric_limits<int64_t>::min()) fail_overflow();
    return -a;
  }
  const bool down = a % b != 0 && (a < 0) != (b < 0);
  return remainder ? a % b + (down ? b : 0) : a / b - (down ? 1 : 0);
}

/// The double nearest to the quotient.
double divide_exactly(int64_t a, int64_t b) {
  constexpr int64_t kExact = int64_t{1} << 53;
  const auto small = [](int64_t value) { return -kExact <= value && value <= kExact; };
  if (small(a) && small(b)) return double(a) / double(b);
  return double(static_cast<long double>(a) / static_cast<long double>(b));
}

Value compute_integers(int64_t a, Arithmetic operation, int64_t b) {
  int64_t result = 0;
  switch (operation) {
    case Arithmetic::kAdd:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow();
      return result;
    case Arithmetic::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
      return result;
    case Arithmetic::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
      return result;
    case Arithmetic::kDivide:
      if (b == 0) raise_error("division by zero");
      return divide_exactly(a, b);
    case Arithmetic::kFloorDivide:
    case Arithmetic::kModulo:
      return divide_integers(a, b, operation == Arithmetic::kModulo);
    case Arithmetic::kPower:
      return power_of_integers(a, b);
  }
  return {};
}

double modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  if ((rest < 0) != (b < 0)) rest += b;
  return rest;
}

/// As Python's float_floor_div, from the remainder.
double floor_divide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

double power(double a, double b) {
  if (a == 0 && b < 0) raise_error("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
    raise_error("complex numbers are not supported");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    raise_error("Numerical result out of range");
  }
  return result;
}

Value compute_floats(double a, Arithmetic operation, double b) {
  const bool divides = operation == Arithmetic::kDivide || operation == Arithmetic::kFloorDivide ||
                       operation == Arithmetic::kModulo;
  if (divides && b == 0) raise_error("float division by zero");
  switch (operation) {
    case Arithmetic::kAdd:
      return a + b;
    case Arithmetic::kSubtract:
      return a - b;
    case Arithmetic::kMultiply:
      return a * b;
    case Arithmetic::kDivide:
      return a / b;
    case Arithmetic::kFloorDivide:
      return floor_divide(a, b);
    case Arithmetic::kModulo:
      return modulo(a, b);
    case Arithmetic::kPower:
      return power(a, b);
  }
  return {};
}

/// With escaped HTML the sum is that, too, and a plain string next to it is escaped.
Value add_markup(const Value& a, const Value& b, Budget& budget) {
  Text sum = a.is_markup() ? a.text() : escape_html(a.text(), budget);
  sum.append(b.is_markup() ? b.text() : escape_html(b.text(), budget));
  budget.bytes(sum.size());
  return Value::markup(std::move(sum));
}

Value repeat_items(const Value& sequence, int64_t times, Budget& budget) {
  List items;
  const uint64_t size = sequence.items().size();
  if (times > 0 && size > 0) {
    if (uint64_t(times) > kMaxWeight) throw LimitFailure("a value is too large");
    budget.steps(size * uint64_t(times));
    for (int64_t i = 0; i < times; ++i) {
      items.insert(items.end(), sequence.items().begin(), sequence.items().end());
    }
  }
  return sequence.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

/// a * times, or nothing for what cannot be repeated.
std::optional<Value> repeated(const Value& value, int64_t times, Budget& budget) {
  if (value.is_sequence()) return repeat_items(value, times, budget);
  if (!value.is_string()) return std::nullopt;
  Text text = repeat(value.text(), times, budget);
  return value.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

/// What is not arithmetic on two numbers; nothing where Python raises a TypeError.
std::optional<Value> compute_others(const Value& a, Arithmetic operation, const Value& b,
                                    Budget& budget) {
  if (operation == Arithmetic::kAdd) {
    if (a.is_string() && b.is_string()) return add_markup(a, b, budget);
    if (a.is_sequence() && a.kind() == b.kind()) {
      budget.steps(a.items().size() + b.items().size());
      List items = a.items();
      items.insert(items.end(), b.items().begin(), b.items().end());
      return a.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
    }
  }
  if (operation == Arithmetic::kMultiply) {
    if (b.is_integer()) return repeated(a, b.integer(), budget);
    if (a.is_integer()) return repeated(b, a.integer(), budget);
  }
  if (operation == Arithmetic::kModulo && a.is_string()) return percent_format(a, b, budget);
  return std::nullopt;
}

}  // namespace

Value compute(Value a, Arithmetic operation, const Value& b, Budget& budget) {
  const bool texts = a.is_string() && b.is_string() && !a.is_markup() && !b.is_markup();
  if (texts && operation == Arithmetic::kAdd) {
    budget.bytes(a.text().size() + b.text().size());
    Text sum = std::move(a).take_text();
    sum.append(b.text());
    return sum;
  }
  if (a.is_integer() && b.is_integer()) {
    return compute_integers(a.integer(), operation, b.integer());
  }
  if (a.is_number() && b.is_number()) return compute_floats(a.number(), operation, b.number());
  if (!(operation == Arithmetic::kModulo && a.is_string())) {  // "%s" takes what is undefined
    check_defined(a);
    check_defined(b);
  }
  if (auto value = compute_others(a, operation, b, budget)) return *std::move(value);
  raise_error("unsupported operand type(s) for {}: '{}' and '{}'", kSymbols[int(operation)],
              a.type_name(), b.type_name());
}

Value negate(const Value& value) {
  check_defined(value);
  if (value.is_integer()) return compute_integers(0, Arithmetic::kSubtract, value.integer());
  if (value.is(Kind::kFloat)) return -value.real();
  raise_error("bad operand type for unary -: '{}'", value.type_name());
}

}  // namespace tessera::launch::jinja
