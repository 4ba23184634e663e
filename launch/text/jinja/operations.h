// Python's protocols on values: truth, length, iteration, order, membership, slices. All throw a
// Failure where Python raises an exception.
#pragma once

#include <optional>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

/// Failure for an undefined value.
void check_defined(const Value& value);

bool truth(const Value& value);
/// len(value), or nothing where Python has no len.
std::optional<int64_t> length_if_any(const Value& value);
int64_t length_of(const Value& value);

/// Walks through an iterable, as iter and next do. Generators share their place among cursors.
class Cursor {
 public:
  /// Failure when `source` cannot be iterated over.
  explicit Cursor(Value source);
  static bool iterates(const Value& source);

  /// The next item, or nothing at the end.
  std::optional<Value> next();
  const Value& source() const { return source_; }

 private:
  Value source_;
  size_t at_ = 0;  // an index; in a string an offset
};

/// list(value). Each item is a step.
List to_list(const Value& value, Budget& budget);

enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
/// a < b and so on. Failure when Python cannot order the two.
bool ordered(const Value& a, Order order, const Value& b);
/// item in container.
bool contains(const Value& container, const Value& item, Budget& budget);

/// Python's index protocol: bool or int. Failure otherwise; `what` names it.
int64_t index_of(const Value& value, const char* what);
/// str(value) for what must be a string already. Failure otherwise; `what` names it.
const Text& text_of(const Value& value, const char* what);
/// value[a:b:c].
Value slice_of(const Value& value, const Slice& slice, Budget& budget);

}  // namespace tessera::launch::jinja
