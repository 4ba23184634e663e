// Chat templates that a user may choose by name: Jinja texts of ours.
#pragma once

#include <span>
#include <string_view>

namespace tessera::launch {

struct NamedTemplate {
  std::string_view name;
  std::string_view jinja;
  /// Tokens that the vocabulary must have; empty strings are none.
  std::string_view tokens[3] = {};
  bool needs_bos = false, needs_eos = false;
  /// The text begins with bos_token where the tokenizer puts one before every text.
  bool begins_as_text = false;
};

std::span<const NamedTemplate> named_templates();

}  // namespace tessera::launch
