// A template's text as tokens, cut as Jinja2 cuts it with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

struct Token {
  enum class Kind : uint8_t {
    kText,           // of the template, outside of tags
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kName,
    kConstant,  // a number or a string
    kOperator,
    kEnd,
  };

  Kind kind = Kind::kEnd;
  int line = 0;
  std::string_view text = {};  // into the source; of a string constant, its quotes included
  Value constant = {};

  bool is_name(std::string_view name) const { return kind == Kind::kName && text == name; }
  bool is_operator(std::string_view symbol) const {
    return kind == Kind::kOperator && text == symbol;
  }
  bool is_string() const { return kind == Kind::kConstant && constant.is_string(); }
};

/// Line ends become "\n", and the last one goes.
std::string normalize_newlines(std::string_view source);

/// `source` has normal line ends and must outlive the tokens, of which the last is kEnd.
/// Failure for what is not a template; `line` is then its line.
std::vector<Token> tokenize(std::string_view source, int& line);

}  // namespace tessera::launch::jinja
