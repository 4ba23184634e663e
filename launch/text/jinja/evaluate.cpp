// How the interpreter computes expressions.
#include <algorithm>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/methods.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/tests.h"

namespace tessera::launch::jinja {
namespace {

using Node = Expression::Kind;

Value positive(const Value& value) {
  check_defined(value);
  if (value.is_integer()) return value.integer();
  if (value.is(Kind::kFloat)) return value;
  raise_error("bad operand type for unary +: '{}'", value.type_name());
}

std::optional<int64_t> slice_bound(const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (!value.is_integer()) raise_error("slice indices must be integers or None");
  return value.integer();
}

void add_named(Arguments& arguments, Value name, Value value) {
  for (const auto& [other, unused] : arguments.named) {
    if (equals(other, name)) {
      raise_error("got multiple values for keyword argument '{}'", name.bytes());
    }
  }
  arguments.named.emplace_back(std::move(name), std::move(value));
}

}  // namespace

Value Interpreter::eval(const Expression& expression, Frame& frame) {
  const Depth depth(*this);
  budget_.steps(1);
  line_ = expression.line;
  switch (expression.kind) {
    case Node::kConstant:
      return expression.constant;
    case Node::kName:
      return eval_name(expression, frame);
    case Node::kTuple:
      return Value::tuple(eval_parts(expression, frame));
    case Node::kList:
      return Value::list(eval_parts(expression, frame));
    case Node::kDict:
      return eval_dict(expression, frame);
    case Node::kNot:
      return !truth(eval(expression.parts[0], frame));
    case Node::kNegative:
      return negate(eval(expression.parts[0], frame));
    case Node::kPositive:
      return positive(eval(expression.parts[0], frame));
    case Node::kArithmetic:
      return eval_arithmetic(expression, frame);
    case Node::kConcat:
      return eval_concat(expression, frame);
    case Node::kCompare:
      return eval_compare(expression, frame);
    case Node::kAnd:
    case Node::kOr:
      return eval_logic(expression, frame);
    case Node::kCondition:
      return eval_condition(expression, frame);
    case Node::kAttribute:
      return get_attribute(eval(expression.parts[0], frame), expression.constant, &expression.name);
    case Node::kItem:
      return eval_item(expression, frame);
    case Node::kSlice:
      return eval_slice(expression, frame);
    case Node::kCall:
      return eval_call(expression, frame, nullptr);
    case Node::kFilter:
      return eval_filter(expression, eval(expression.parts[0], frame), frame);
    case Node::kTest:
      return eval_test(expression, frame);
    case Node::kNamespaceItem:
      break;
  }
  raise_error("an expression that only an assignment can have");
}

Value Interpreter::eval_name(const Expression& name, Frame& frame) {
  const Value& value = frame.at(name.slot);
  return is_missing(value) ? Value::undefined(&name.name) : value;
}

List Interpreter::eval_parts(const Expression& expression, Frame& frame) {
  List items;
  items.reserve(expression.parts.size());
  for (const Expression& part : expression.parts) items.push_back(eval(part, frame));
  return items;
}

Value Interpreter::eval_dict(const Expression& expression, Frame& frame) {
  Dict dict;
  for (size_t i = 0; i < expression.parts.size(); i += 2) {
    Value key = eval(expression.parts[i], frame);
    budget_.steps(key.weight());
    dict.set(std::move(key), eval(expression.parts[i + 1], frame));
  }
  return dict;
}

Value Interpreter::eval_arithmetic(const Expression& expression, Frame& frame) {
  Value left = eval(expression.parts[0], frame);
  const Value right = eval(expression.parts[1], frame);
  return compute(std::move(left), expression.arithmetic, right, budget_);
}

Value Interpreter::eval_concat(const Expression& concat, Frame& frame) {
  Text text;
  for (const Expression& part : concat.parts) {
    const Value value = eval(part, frame);
    if (value.is_string()) {
      text.append(value.text());
    } else {
      text.append(str_of(value, budget_));
    }
    if (text.size() > kMaxTextBytes) break;
  }
  budget_.bytes(text.size());
  return text;
}

Value Interpreter::eval_compare(const Expression& expression, Frame& frame) {
  Value left = eval(expression.parts[0], frame);
  for (size_t i = 0; i < expression.comparisons.size(); ++i) {
    Value right = eval(expression.parts[i + 1], frame);
    if (!compare(left, expression.comparisons[i], right)) return false;
    left = std::move(right);
  }
  return true;
}

bool Interpreter::compare(const Value& a, Comparison comparison, const Value& b) {
  if (comparison == Comparison::kIn) return contains(b, a, budget_);
  if (comparison == Comparison::kNotIn) return !contains(b, a, budget_);
  budget_.steps(std::min(a.weight(), b.weight()));
  switch (comparison) {
    case Comparison::kEqual:
      return equals(a, b);
    case Comparison::kNotEqual:
      return !equals(a, b);
    case Comparison::kLess:
      return ordered(a, Order::kLess, b);
    case Comparison::kLessEqual:
      return ordered(a, Order::kLessEqual, b);
    case Comparison::kGreater:
      return ordered(a, Order::kGreater, b);
    case Comparison::kGreaterEqual:
    case Comparison::kIn:
    case Comparison::kNotIn:
    default:
      return ordered(a, Order::kGreaterEqual, b);
  }
}

Value Interpreter::eval_logic(const Expression& logic, Frame& frame) {
  const bool ends_at = logic.kind == Node::kOr;
  Value value;
  for (const Expression& part : logic.parts) {
    value = eval(part, frame);
    if (truth(value) == ends_at) break;
  }
  return value;
}

Value Interpreter::eval_condition(const Expression& condition, Frame& frame) {
  if (truth(eval(condition.parts[0], frame))) return eval(condition.parts[1], frame);
  return condition.parts.size() > 2 ? eval(condition.parts[2], frame) : Value::undefined();
}

Value Interpreter::eval_item(const Expression& item, Frame& frame) {
  const Value object = eval(item.parts[0], frame);
  const Value key = eval(item.parts[1], frame);
  const bool lasting = item.parts[1].kind == Node::kConstant && key.is_string();
  return get_item(object, key, lasting ? &item.parts[1].constant.bytes() : nullptr);
}

Value Interpreter::eval_slice(const Expression& slice, Frame& frame) {
  const Value object = eval(slice.parts[0], frame);
  const Value start = eval(slice.parts[1], frame);
  const Value stop = eval(slice.parts[2], frame);
  const Value step = eval(slice.parts[3], frame);
  return slice_of(object, {slice_bound(start), slice_bound(stop), slice_bound(step)}, budget_);
}

Arguments Interpreter::eval_arguments(const Expression& call, Frame& frame) {
  Arguments arguments;
  const size_t stars = size_t(call.has_star) + size_t(call.has_double_star);
  const size_t named_end = call.parts.size() - stars;
  const size_t named_begin = named_end - call.names.size();
  arguments.positional.reserve(named_begin);
  for (size_t i = 1; i < named_begin; ++i) {
    arguments.positional.push_back(eval(call.parts[i], frame));
  }
  for (size_t i = named_begin; i < named_end; ++i) {
    arguments.named.emplace_back(call.names[i - named_begin], eval(call.parts[i], frame));
  }
  if (call.has_star) {
    for (Value& item : to_list(eval(call.parts[named_end], frame), budget_)) {
      arguments.positional.push_back(std::move(item));
    }
  }
  if (call.has_double_star) {
    const Value more = eval(call.parts.back(), frame);
    if (!more.is(Kind::kDict)) {
      raise_error("argument after ** must be a mapping, not {}", more.type_name());
    }
    for (const auto& [name, value] : more.dict().entries()) {
      budget_.steps(1 + arguments.named.size());
      if (!name.is_string()) raise_error("keywords must be strings");
      add_named(arguments, name, value);
    }
  }
  return arguments;
}

Value Interpreter::eval_call(const Expression& call, Frame& frame, const Value* caller) {
  const Expression& callee = call.parts[0];
  Value object;  // what is called, or whose method
  MethodBody method = nullptr;
  if (callee.kind == Node::kAttribute) {
    const Depth depth(*this);
    object = eval(callee.parts[0], frame);
    method = find_method(object, callee.name);
    if (!method) object = get_attribute(object, callee.constant, &callee.name);
  } else {
    object = eval(callee, frame);
  }
  Arguments arguments = eval_arguments(call, frame);
  if (caller) add_named(arguments, "caller", *caller);
  line_ = call.line;
  return method ? method(*this, object, arguments) : this->call(object, arguments);
}

Value Interpreter::call(const Value& function, Arguments& arguments) {
  check_defined(function);
  auto* callable = function.as<Callable>();
  if (!callable) raise_error("'{}' object is not callable", function.type_name());
  return callable->call(*this, arguments);
}

Value Interpreter::eval_filter(const Expression& filter, const Value& input, Frame& frame) {
  if (!filter.filter) fail_no_filter(filter.name);
  Arguments arguments = eval_arguments(filter, frame);
  line_ = filter.line;
  return filter.filter(*this, input, arguments);
}

Value Interpreter::eval_block_filter(const Expression& filter, const Value& input, Frame& frame) {
  const Depth depth(*this);
  const Expression& inner = filter.parts[0];
  if (inner.kind != Node::kFilter) return eval_filter(filter, input, frame);
  return eval_filter(filter, eval_block_filter(inner, input, frame), frame);
}

Value Interpreter::eval_test(const Expression& test, Frame& frame) {
  if (!test.test) fail_no_test(test.name);
  const Value input = eval(test.parts[0], frame);
  Arguments arguments = eval_arguments(test, frame);
  line_ = test.line;
  return test.test(*this, input, arguments);
}

Value Interpreter::filter(std::string_view name, const Value& input, Arguments& arguments) {
  const FilterBody body = find_filter(name);
  if (!body) fail_no_filter(name);
  budget_.steps(1);
  return body(*this, input, arguments);
}

bool Interpreter::test(std::string_view name, const Value& input, Arguments& arguments) {
  const TestBody body = find_test(name);
  if (!body) fail_no_test(name);
  budget_.steps(1);
  return body(*this, input, arguments);
}

}  // namespace tessera::launch::jinja
