// Values that JSON does not know, as Jinja and Python make them: ranges, views of dicts,
// generators, namespaces, functions.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

class Interpreter;

struct Arguments {
  List positional;
  std::vector<std::pair<Value, Value>> named;  // by a string
};

class Callable : public Object {
 public:
  virtual Value call(Interpreter& interpreter, Arguments& arguments) = 0;
};

/// A function of Jinja's that every template sees.
class GlobalFunction final : public Callable {
 public:
  using Body = Value (*)(Interpreter& interpreter, Arguments& arguments);

  explicit GlobalFunction(Body body) : body_(body) {}
  const char* type_name() const override { return "function"; }
  Value call(Interpreter& interpreter, Arguments& arguments) override {
    return body_(interpreter, arguments);
  }

 private:
  const Body body_;
};

using MethodBody = Value (*)(Interpreter& interpreter, const Value& self, Arguments& arguments);

class BoundMethod final : public Callable {
 public:
  BoundMethod(Value self, MethodBody body) : self_(std::move(self)), body_(body) {}
  const char* type_name() const override { return "builtin_function_or_method"; }
  int depth() const override { return self_.depth() + 1; }
  uint32_t weight() const override { return self_.weight(); }
  Value call(Interpreter& interpreter, Arguments& arguments) override {
    return body_(interpreter, self_, arguments);
  }

 private:
  const Value self_;
  const MethodBody body_;
};

struct Range final : Object {
  Range(int64_t begin, int64_t end, int64_t stride) : start(begin), stop(end), step(stride) {}
  const char* type_name() const override { return "range"; }
  int64_t size() const;
  /// Wraps around beyond the end.
  int64_t at(int64_t index) const {
    return int64_t(uint64_t(start) + uint64_t(index) * uint64_t(step));
  }
  bool equals(const Object& other) const override;
  Text repr(Budget& budget) const override;

  const int64_t start, stop, step;
};

/// What the methods keys, values and items of a dict give.
struct DictView final : Object {
  enum class Part { kKeys, kValues, kItems };

  DictView(Value of, Part shown) : dict(std::move(of)), part(shown) {}
  const char* type_name() const override;
  int depth() const override { return dict.depth() + 1; }
  uint32_t weight() const override { return dict.weight(); }
  bool equals(const Object& other) const override;
  bool can_be_hashed() const override { return part == Part::kValues; }
  Text repr(Budget& budget) const override;
  Value at(size_t index) const;

  const Value dict;
  const Part part;
};

/// What a lazy filter gives: its items can be taken once. They are computed beforehand, but an
/// error shows only when the item that it belongs to is asked for.
struct Generator final : Object {
  Generator(List all, std::exception_ptr error, const char* name = "generator");
  const char* type_name() const override { return name_; }
  int depth() const override { return depth_; }
  uint32_t weight() const override { return weight_; }
  std::optional<Value> next();

 private:
  List items_;
  const std::exception_ptr error_;
  const char* const name_;
  size_t taken_ = 0;
  int depth_ = 1;
  uint32_t weight_ = 1;
};

/// The one kind of value that a template can change.
struct Namespace final : Object {
  const char* type_name() const override { return "TemplateNamespace"; }
  Text repr(Budget& budget) const override;

  Dict attributes;

 private:
  mutable bool printing_ = false;  // for one that holds itself
};

struct Cycler final : Object {
  explicit Cycler(Value tuple) : items(std::move(tuple)) {}
  const char* type_name() const override { return "Cycler"; }
  int depth() const override { return items.depth() + 1; }
  uint32_t weight() const override { return items.weight(); }

  const Value items;  // a tuple
  size_t position = 0;
};

class Joiner final : public Callable {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  const char* type_name() const override { return "Joiner"; }
  int depth() const override { return separator_.depth() + 1; }
  uint32_t weight() const override { return separator_.weight(); }
  Value call(Interpreter& interpreter, Arguments& arguments) override;

 private:
  const Value separator_;
  bool used_ = false;
};

}  // namespace tessera::launch::jinja
