// Jinja templates in Hugging Face's dialect: what they render equals byte for byte what
// transformers prints for them (an immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
// generation blocks). Each byte of the text is known to come from the template or from data.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/jinja/text.h"
#include "launch/text/jinja/value.h"
#include "runtime/core/error.h"

namespace tessera::launch::jinja {

/// The template called raise_exception: what() is the message it gave.
class TemplateRefusal : public Error {
  using Error::Error;
};

struct Rendered {
  std::string text;
  std::vector<Mark> marks;  // of text's bytes that came from data
  /// The bytes [begin, end) that stand in {% generation %} blocks, in the order in which they end.
  std::vector<std::pair<size_t, size_t>> generation;
};

struct Program;

/// A parsed template: immutable, copies share it, and threads may render it at the same time.
class Template {
 public:
  /// Error "NAME:LINE: reason" when `source` is not a template.
  static Template parse(std::string_view source, std::string name);

  /// `variables` is a dict whose keys are strings. `now`, in seconds since the epoch, is what
  /// strftime_now prints, in local time. TemplateRefusal when the template raises an exception;
  /// Error "NAME:LINE: reason" when it fails or takes more than it may: steps, depth, memory.
  Rendered render(const Value& variables, int64_t now) const;

  /// Whether it has {% generation %} blocks.
  bool has_generation() const;

 private:
  explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  std::shared_ptr<const Program> program_;
};

}  // namespace tessera::launch::jinja
