// What several filters need.
#pragma once

#include <functional>
#include <optional>

#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

/// The value as a string: str(value), but escaped HTML stays that.
Value soft_text(Interpreter& interpreter, const Value& value);
/// `text`, as escaped HTML where `like` is that.
Value text_like(const Value& like, Text text);

/// The parts of an attribute like "a.b.0", looked up one in another.
class AttributeGetter {
 public:
  /// None looks nothing up. `otherwise`, unless None, replaces what is undefined.
  AttributeGetter(Interpreter& interpreter, const Value& attribute, Value otherwise = {});
  Value operator()(const Value& item) const;

 private:
  Interpreter& interpreter_;
  List parts_;
  const Value otherwise_;
};

/// A string in lower case, unless `case_sensitive`; other values as they are.
Value fold_case(Interpreter& interpreter, const Value& value, bool case_sensitive);

/// A generator of what `fill` puts into the list. A Failure shows when the items are used up.
Value generate(const std::function<void(List& items)>& fill);

}  // namespace tessera::launch::jinja
