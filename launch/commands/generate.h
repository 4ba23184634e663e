// `tessera generate`: text from a base model, with or without an adapter.
#pragma once

#include <optional>
#include <string>

#include "launch/commands/answering_options.h"
#include "launch/run/prompt_reader.h"

namespace tessera::launch {

struct GenerateOptions : AnsweringOptions {
  PromptChoice from;
  int64_t samples = 1;                // answers to each prompt
  bool json = false;                  // on stdout: all that is known of an answer, not its text
  std::optional<std::string> output;  // a file of answers, instead of stdout
  bool resume = false;                // go on with it
};

/// Writes to stdout the new text alone, token by token; for a file of lines, or several samples,
/// one {"text": ...} for each answer in the order of the prompts; or with `output` the answers to
/// that file. Returns false when a signal stopped it and `output` can be resumed; without `output`
/// that is an Error.
bool generate(const GenerateOptions& options);

}  // namespace tessera::launch
