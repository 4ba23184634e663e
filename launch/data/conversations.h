// Conversations and texts that a user hands to a command in a file.
#pragma once

#include <string>
#include <vector>

#include "launch/data/row_keys.h"
#include "launch/text/chat_template.h"

namespace tessera::launch {

struct Conversations {
  std::vector<std::vector<Message>> list;
  bool lines = false;  // JSON lines, one conversation each; else the file is one conversation
  std::string path;
  RowRemarks remarks;  // what of the file is not used, or is taken as letters

  /// The remarks for the user to see, a line each.
  std::vector<std::string> notes() const;
};

/// A conversation is a list of {"role", "content"} or an object {"messages": [...]}. A file is one
/// JSON value, or JSON lines (always where it is called .jsonl). Error naming file and line.
Conversations read_conversations(const std::string& path);

/// The whole file; standard input for "-". Error when it is larger than 1 GiB.
std::string read_input(const std::string& path);

}  // namespace tessera::launch
