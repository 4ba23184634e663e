#include "launch/text/jinja/loop.h"

#include "launch/text/jinja/failure.h"

namespace tessera::launch::jinja {

std::optional<Value> LoopItems::next() {
  while (!closed_) {
    auto item = cursor_.next();
    if (!item) break;
    if (!filter_ || filter_(*item)) return item;
  }
  return std::nullopt;
}

std::optional<int64_t> LoopItems::length() const {
  return filter_ ? std::nullopt : length_if_any(cursor_.source());
}

void Loop::finish() {
  items_.close();
  changed_.reset();
}

Text Loop::repr(Budget&) const {
  // Its length may have to be counted, which changes nothing that can be seen.
  const int64_t length = const_cast<Loop*>(this)->length();
  return fmt::format("<LoopContext {}/{}>", index0_ + 1, length);
}

Value Loop::call(Interpreter&, Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    raise_error("loop() takes one iterable");
  }
  if (!recurse) {
    raise_error("the loop must have the 'recursive' marker to be called recursively");
  }
  return recurse(arguments.positional[0], depth_ + 1);
}

std::optional<Value> Loop::advance() {
  std::optional<Value> next = peek();
  if (!next) return next;
  after_.reset();
  ++index0_;
  before_ = std::move(current_);
  current_ = next;
  return next;
}

const std::optional<Value>& Loop::peek() {
  if (after_) return after_;
  if (!drained_) {
    after_ = items_.next();
  } else if (drained_taken_ < drained_->size()) {
    after_ = (*drained_)[drained_taken_++];
  }
  return after_;
}

int64_t Loop::length() {
  if (length_) return *length_;
  length_ = items_.length();
  if (!length_) {
    List rest;
    while (auto item = items_.next()) rest.push_back(std::move(*item));
    length_ = int64_t(rest.size()) + index0_ + 1 + (after_ ? 1 : 0);
    drained_ = std::move(rest);
  }
  return *length_;
}

std::optional<Value> Loop::attribute(std::string_view name) {
  if (name == "index0") return index0_;
  if (name == "index") return index0_ + 1;
  if (name == "first") return index0_ == 0;
  if (name == "last") return !peek().has_value();
  if (name == "length") return length();
  if (name == "revindex") return length() - index0_;
  if (name == "revindex0") return length() - index0_ - 1;
  if (name == "depth") return int64_t{depth_} + 1;
  if (name == "depth0") return int64_t{depth_};
  if (name == "previtem") return index0_ > 0 ? *before_ : Value::undefined();
  if (name == "nextitem") return peek() ? *peek() : Value::undefined();
  return std::nullopt;
}

Value Loop::cycle(const List& values) const {
  if (values.empty()) raise_error("no items for cycling given");
  return values[size_t(index0_) % values.size()];
}

bool Loop::changed(const List& values) {
  Value now = Value::tuple(values);
  if (changed_ && jinja::equals(*changed_, now)) return false;
  changed_ = std::move(now);
  return true;
}

}  // namespace tessera::launch::jinja
