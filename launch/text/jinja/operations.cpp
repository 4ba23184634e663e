#include "launch/text/jinja/operations.h"

#include <algorithm>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/objects.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

constexpr const char* kOrders[] = {"<", "<=", ">", ">="};

template <class T>
bool holds(const T& a, Order order, const T& b) {
  switch (order) {
    case Order::kLess:
      return a < b;
    case Order::kLessEqual:
      return a <= b;
    case Order::kGreater:
      return a > b;
    case Order::kGreaterEqual:
      return a >= b;
  }
  return false;
}

long double exact(const Value& value) {
  return value.is_integer() ? static_cast<long double>(value.integer()) : value.real();
}

}  // namespace

void check_defined(const Value& value) {
  if (!value.is_undefined()) return;
  if (value.undefined_name()) raise_error("'{}' is undefined", *value.undefined_name());
  raise_error("a value is undefined");
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kObject:
    default:
      return length_if_any(value).value_or(1) != 0;
  }
}

std::optional<int64_t> length_if_any(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return int64_t(count_points(value.bytes()));
    case Kind::kList:
    case Kind::kTuple:
      return int64_t(value.items().size());
    case Kind::kDict:
      return int64_t(value.dict().size());
    case Kind::kObject:
      break;
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    default:
      return std::nullopt;
  }
  if (const auto* range = value.as<Range>()) return range->size();
  if (const auto* view = value.as<DictView>()) return int64_t(view->dict.dict().size());
  if (auto* loop = value.as<Loop>()) return loop->length();
  return std::nullopt;
}

int64_t length_of(const Value& value) {
  const auto length = length_if_any(value);
  if (!length) raise_error("object of type '{}' has no len()", value.type_name());
  return *length;
}

Cursor::Cursor(Value source) : source_(std::move(source)) {
  if (!iterates(source_)) raise_error("'{}' object is not iterable", source_.type_name());
}

bool Cursor::iterates(const Value& source) {
  if (source.is(Kind::kObject)) {
    return source.as<Range>() || source.as<DictView>() || source.as<Generator>();
  }
  return source.is_undefined() || source.is_string() || source.is_sequence() ||
         source.is(Kind::kDict);
}

std::optional<Value> Cursor::next() {
  switch (source_.kind()) {
    case Kind::kString: {
      if (at_ == source_.text().size()) return std::nullopt;
      const size_t begin = at_;
      at_ += utf8_length(source_.bytes()[begin]);
      return Value(source_.text().part(begin, at_));  // plain, of escaped HTML, too
    }
    case Kind::kList:
    case Kind::kTuple:
      if (at_ == source_.items().size()) return std::nullopt;
      return source_.items()[at_++];
    case Kind::kDict:
      if (at_ == source_.dict().size()) return std::nullopt;
      return source_.dict().entries()[at_++].first;
    case Kind::kObject:
      break;
    case Kind::kUndefined:
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    default:
      return std::nullopt;
  }
  if (auto* generator = source_.as<Generator>()) return generator->next();
  if (int64_t(at_) == length_of(source_)) return std::nullopt;
  const size_t index = at_++;
  if (const auto* range = source_.as<Range>()) return range->at(int64_t(index));
  return source_.as<DictView>()->at(index);
}

List to_list(const Value& value, Budget& budget) {
  if (value.is_sequence()) {
    budget.steps(value.items().size());
    return value.items();
  }
  List items;
  Cursor cursor(value);
  while (auto item = cursor.next()) {
    budget.steps(1);
    items.push_back(std::move(*item));
  }
  return items;
}

bool ordered(const Value& a, Order order, const Value& b) {
  check_defined(a);
  check_defined(b);
  if (a.is_integer() && b.is_integer()) return holds(a.integer(), order, b.integer());
  if (a.is_number() && b.is_number()) return holds(exact(a), order, exact(b));
  // The order of UTF-8's bytes is that of the code points.
  if (a.is_string() && b.is_string()) return holds(a.bytes().compare(b.bytes()), order, 0);
  if (a.is_sequence() && a.kind() == b.kind()) {
    const List &left = a.items(), &right = b.items();
    const size_t common = std::min(left.size(), right.size());
    for (size_t i = 0; i < common; ++i) {
      if (!equals(left[i], right[i])) return ordered(left[i], order, right[i]);
    }
    return holds(left.size(), order, right.size());
  }
  raise_error("'{}' not supported between instances of '{}' and '{}'", kOrders[int(order)],
              a.type_name(), b.type_name());
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_string()) {
    if (!item.is_string()) {
      raise_error("'in <string>' requires string as left operand, not {}", item.type_name());
    }
    budget.steps(1 + container.text().size() / 64);
    return container.bytes().find(item.bytes()) != std::string::npos;
  }
  if (container.is(Kind::kDict)) {
    budget.steps(item.weight());
    return container.dict().find(item) != nullptr;
  }
  if (!Cursor::iterates(container)) {
    raise_error("argument of type '{}' is not iterable", container.type_name());
  }
  Cursor cursor(container);
  while (const auto other = cursor.next()) {
    budget.steps(item.is_string() ? 1 : std::min(item.weight(), other->weight()));
    if (equals(*other, item)) return true;
  }
  return false;
}

int64_t index_of(const Value& value, const char* what) {
  if (!value.is_integer()) {
    raise_error("{}: expected an integer, got {}", what, value.type_name());
  }
  return value.integer();
}

const Text& text_of(const Value& value, const char* what) {
  if (!value.is_string()) raise_error("{}: expected a string, got {}", what, value.type_name());
  return value.text();
}

Value slice_of(const Value& value, const Slice& bounds, Budget& budget) {
  check_defined(value);
  if (value.is_string()) {
    budget.bytes(value.text().size());
    Text text = slice(value.text(), bounds);
    return value.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
  }
  if (const auto* range = value.as<Range>()) {
    const Steps steps = resolve(bounds, range->size());
    const Value start = range->at(steps.start);
    const Value stride = compute(range->step, Arithmetic::kMultiply, steps.step, budget);
    const Value length = compute(steps.count, Arithmetic::kMultiply, stride, budget);
    const Value stop = compute(start, Arithmetic::kAdd, length, budget);
    return std::make_shared<Range>(start.integer(), stop.integer(), stride.integer());
  }
  if (!value.is_sequence()) {
    raise_error("'{}' object is not subscriptable by a slice", value.type_name());
  }
  const Steps steps = resolve(bounds, int64_t(value.items().size()));
  budget.steps(size_t(steps.count));
  List items;
  for (int64_t i = 0; i < steps.count; ++i) {
    items.push_back(value.items()[size_t(steps.start + i * steps.step)]);
  }
  return value.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace tessera::launch::jinja
