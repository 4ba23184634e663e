// The variable `loop`: where a for loop stands, and the call of a recursive one.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "launch/text/jinja/objects.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/syntax.h"

namespace tessera::launch::jinja {

struct Frame;

/// The items of a loop: those of an iterable that pass the loop's `if`, tested as they are taken.
class LoopItems {
 public:
  using Filter = std::function<bool(const Value& item)>;

  LoopItems(Value iterable, Filter filter)
      : cursor_(std::move(iterable)), filter_(std::move(filter)) {}

  std::optional<Value> next();
  void close() { closed_ = true; }
  /// How many there are, where that is known before they are taken.
  std::optional<int64_t> length() const;

 private:
  Cursor cursor_;
  Filter filter_;
  bool closed_ = false;
};

class Loop final : public Callable {
 public:
  /// `depth`: of a recursive loop, from 0 on.
  Loop(LoopItems items, int nesting, int depth)
      : items_(std::move(items)), nesting_(nesting), depth_(depth) {}

  /// How `loop(items)` renders the items, for a recursive loop.
  std::function<Value(const Value& items, int depth)> recurse;

  const char* type_name() const override { return "LoopContext"; }
  int depth() const override { return nesting_ + 1; }
  Text repr(Budget& budget) const override;
  Value call(Interpreter& interpreter, Arguments& arguments) override;

  /// Goes on to the next item, if there is one.
  std::optional<Value> advance();
  int64_t length();
  /// loop.NAME, or nothing.
  std::optional<Value> attribute(std::string_view name);
  Value cycle(const List& values) const;
  bool changed(const List& values);
  /// At the end of the loop: no more items are taken, which a break leaves, and what
  /// loop.changed remembers goes, for it may hold the loop.
  void finish();

 private:
  const std::optional<Value>& peek();

  LoopItems items_;
  const int nesting_;  // of the values that it holds
  const int depth_;
  int64_t index0_ = -1;
  std::optional<int64_t> length_;
  std::optional<Value> before_, current_, after_;
  std::optional<List> drained_;  // the rest of the items, taken to be counted
  size_t drained_taken_ = 0;
  std::optional<Value> changed_;  // a tuple
};

}  // namespace tessera::launch::jinja
