#include "launch/text/jinja/filter_arguments.h"

#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/literals.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/strings.h"

namespace tessera::launch::jinja {
Value soft_text(Interpreter& interpreter, const Value& value) {
  return value.is_string() ? value : Value(str_of(value, interpreter.budget()));
}

Value text_like(const Value& like, Text text) {
  return like.is_markup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

AttributeGetter::AttributeGetter(Interpreter& interpreter, const Value& attribute, Value otherwise)
    : interpreter_(interpreter), otherwise_(std::move(otherwise)) {
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  for (Text& part : split(attribute.text(), ".", -1, false)) {
    if (is_digits(part.bytes)) {
      parts_.push_back(parse_integer(part.bytes, 10).value_or(0));
    } else {
      parts_.push_back(std::move(part));
    }
  }
}

Value AttributeGetter::operator()(const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) {
    interpreter_.budget().steps(1);
    value = interpreter_.get_item(value, part);
    if (value.is_undefined() && !otherwise_.is_none()) value = otherwise_;
  }
  return value;
}

Value fold_case(Interpreter& interpreter, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  interpreter.budget().bytes(value.text().size());
  return text_like(value, to_case(value.text(), Case::kLower));
}

Value generate(const std::function<void(List& items)>& fill) {
  List items;
  std::exception_ptr error;
  try {
    fill(items);
  } catch (const LimitFailure&) {
    throw;
  } catch (const Failure&) {
    error = std::current_exception();
  }
  return std::make_shared<Generator>(std::move(items), error);
}

}  // namespace tessera::launch::jinja
