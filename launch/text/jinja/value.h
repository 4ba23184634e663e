// The values that a template works on: Python's, as far as JSON and Jinja know them. Values are
// small, and copies share what they hold; strings, lists and dicts never change once made. A value
// is bounded in depth and weight (failure.h), so that walking it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/jinja/text.h"

namespace tessera::launch::jinja {

class Value;
class Dict;
class Object;
class Budget;
using List = std::vector<Value>;

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kObject,
};

class Value {
 public:
  /// None; undefined() is what a name without a value has.
  Value() = default;
  Value(bool value) : kind_(Kind::kBool) { scalar_.integer = value; }    // NOLINT
  Value(int64_t value) : kind_(Kind::kInt) { scalar_.integer = value; }  // NOLINT
  Value(double value) : kind_(Kind::kFloat) { scalar_.real = value; }    // NOLINT
  Value(Text text);                                                      // NOLINT
  Value(const char* text) : Value(Text(text)) {}                         // NOLINT
  Value(Dict dict);                                                      // NOLINT
  Value(std::shared_ptr<Object> object);                                 // NOLINT
  template <class T>
  Value(std::shared_ptr<T> object) : Value(std::shared_ptr<Object>(std::move(object))) {}  // NOLINT

  static Value list(List items);
  static Value tuple(List items);
  /// The tuple (grouper, list) of the filter groupby, whose items have these names, too.
  static Value group(Value grouper, Value list);
  /// `name`: what has no value, for messages; it must outlive the value. May be null.
  static Value undefined(const std::string* name = nullptr);
  /// A string that counts as escaped HTML, as `safe` and `escape` give it.
  static Value markup(Text text);

  /// All strings in it came from `source`. Error for an integer beyond 64 bits, a string that is
  /// not UTF-8, or what is too deep or too large.
  static Value from_json(const nlohmann::ordered_json& json, int32_t source);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  /// bool, int or float: booleans count as 0 and 1.
  bool is_number() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  /// bool or int.
  bool is_integer() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  bool is_markup() const { return is_string() && special_; }
  bool is_group() const { return is(Kind::kTuple) && special_; }

  // Each takes a value of its kind only.
  int64_t integer() const { return scalar_.integer; }
  double real() const { return scalar_.real; }
  double number() const { return is_integer() ? double(scalar_.integer) : scalar_.real; }
  const Text& text() const { return *static_cast<const Text*>(shared_.get()); }
  /// The text, moved out where nothing else shares it.
  Text take_text() &&;
  const std::string& bytes() const { return text().bytes; }
  const List& items() const { return *static_cast<const List*>(shared_.get()); }
  const Dict& dict() const { return *static_cast<const Dict*>(shared_.get()); }
  Object& object() const { return *static_cast<Object*>(const_cast<void*>(shared_.get())); }
  const std::string* undefined_name() const { return scalar_.name; }
  /// Whether both share one string, list, dict or object.
  bool same_as(const Value& other) const { return shared_ == other.shared_; }

  /// The object as a `T`, or null.
  template <class T>
  T* as() const {
    return is(Kind::kObject) ? dynamic_cast<T*>(&object()) : nullptr;
  }
  /// The object as a `T`, shared. It must be one.
  template <class T>
  std::shared_ptr<T> shared_as() const {
    return {std::const_pointer_cast<void>(shared_), as<T>()};
  }

  int depth() const { return depth_; }
  uint32_t weight() const { return weight_; }
  /// Python's name of the type, for messages.
  const char* type_name() const;

 private:
  union Scalar {
    int64_t integer;
    double real;
    const std::string* name;
  };

  /// Counts a part of a list or dict.
  void contain(const Value& part);
  static Value sequence(Kind kind, List items);

  Kind kind_ = Kind::kNone;
  bool special_ = false;
  uint16_t depth_ = 0;
  uint32_t weight_ = 1;
  Scalar scalar_ = {};
  std::shared_ptr<const void> shared_;
};

/// Key and value pairs in the order of insertion; keys are any values that Python can hash.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  /// Replaces the value of an equal key. Failure when the key cannot be hashed.
  void set(Value key, Value value);
  /// Null when there is none. Failure when the key cannot be hashed.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }

 private:
  template <class Equals>
  size_t position(size_t hash, const Equals& equals) const;
  void insert_slot(size_t entry);

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // entry + 1 by hash, 0: free; used beyond a few entries
};

/// What JSON does not know: functions, namespaces, loops, views, ranges.
class Object {
 public:
  virtual ~Object() = default;
  /// Python's name of the type, for messages.
  virtual const char* type_name() const = 0;
  /// Levels of values in it, for what holds values and never changes.
  virtual int depth() const { return 0; }
  virtual uint32_t weight() const { return 1; }
  virtual bool equals(const Object& other) const { return this == &other; }
  virtual bool can_be_hashed() const { return true; }
  /// Python's repr. Failure for what prints an address in memory.
  virtual Text repr(Budget& budget) const;
};

/// Python's ==.
bool equals(const Value& a, const Value& b);
/// Equal values have equal hashes. Failure when Python cannot hash the value.
size_t hash_of(const Value& value);

}  // namespace tessera::launch::jinja
