// `tessera chat`: a conversation with a model on a terminal, or driven by a script through pipes.
#pragma once

#include <string>

#include "launch/commands/answering_options.h"

namespace tessera::launch {

struct ChatOptions : AnsweringOptions {
  ChatOptions() { max_new_tokens = 1024; }
  std::string system;  // the system prompt; may be empty
};

/// Answers go to stdout, all else to stderr. Where nobody types, the first Error ends it.
void chat(const ChatOptions& options);

}  // namespace tessera::launch
