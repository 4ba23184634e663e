#include "launch/text/jinja/parameters.h"

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/operations.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {

Parameters::Parameters(const char* function, Arguments& arguments,
                       std::initializer_list<std::string_view> names, size_t required)
    : function_(function), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    raise_error("{} takes at most {} arguments, got {}", function, names.size(),
                arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t index = 0;
    while (index < names.size() && names.begin()[index] != name.bytes()) ++index;
    if (index == names.size() || name.bytes().starts_with('/')) {
      raise_error("{} takes no argument '{}'", function, io::printable(name.bytes(), 40));
    }
    if (values_[index]) raise_error("{} got two values for '{}'", function, name.bytes());
    values_[index] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) raise_error("{} needs at least {} arguments", function, required);
  }
}

int64_t Parameters::integer(size_t index, int64_t otherwise) const {
  return values_[index] ? index_of(*values_[index], function_) : otherwise;
}

bool Parameters::truth(size_t index, bool otherwise) const {
  return values_[index] ? jinja::truth(*values_[index]) : otherwise;
}

const Text& Parameters::text(size_t index) const { return text_of(*values_[index], function_); }

}  // namespace tessera::launch::jinja
