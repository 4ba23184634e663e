// The arguments of a function, filter or method, by the names of its parameters.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "launch/text/jinja/objects.h"

namespace tessera::launch::jinja {

class Parameters {
 public:
  /// `names`: of all parameters; one that begins with "/" takes no keyword. Failure when one of
  /// the first `required` is missing, or what is given has no parameter.
  Parameters(const char* function, Arguments& arguments,
             std::initializer_list<std::string_view> names, size_t required = 0);

  /// Null when it is not given.
  const Value* find(size_t index) const { return values_[index]; }
  const Value& at(size_t index) const { return *values_[index]; }
  Value get(size_t index, Value otherwise) const {
    return values_[index] ? *values_[index] : otherwise;
  }
  // Each Failure when it is given and of another type.
  int64_t integer(size_t index, int64_t otherwise) const;
  bool truth(size_t index, bool otherwise) const;
  const Text& text(size_t index) const;

 private:
  const char* function_;
  std::vector<const Value*> values_;
};

}  // namespace tessera::launch::jinja
