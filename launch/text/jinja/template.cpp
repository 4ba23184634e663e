#include "launch/text/jinja/template.h"

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/lexer.h"
#include "launch/text/jinja/parser.h"
#include "launch/text/jinja/syntax.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {

Template Template::parse(std::string_view source, std::string name) {
  if (source.size() > kMaxTemplateBytes) {
    fail("{}: a template of {} bytes; at most {} are taken", name, source.size(),
         kMaxTemplateBytes);
  }
  if (const auto offset = find_invalid_utf8(source)) {
    fail("{}: the template is not UTF-8 at byte {}", name, *offset);
  }
  const std::string text = normalize_newlines(source);
  int line = 1;
  try {
    const std::vector<Token> tokens = tokenize(text, line);
    auto program = std::make_shared<Program>(parse_program(tokens, line));
    program->name = std::move(name);
    return Template(std::move(program));
  } catch (const Failure& failure) {
    fail("{}:{}: {}", name, line, failure.what());
  }
}

Rendered Template::render(const Value& variables, int64_t now) const {
  if (!variables.is(Kind::kDict)) fail("{}: the variables are not a dict", program_->name);
  Interpreter interpreter(*program_, variables, now);
  try {
    return interpreter.run();
  } catch (const Failure& failure) {
    fail("{}:{}: {}", program_->name, interpreter.line(), failure.what());
  }
}

bool Template::has_generation() const { return program_->has_generation; }

}  // namespace tessera::launch::jinja
