// Which bytes of a rendered conversation are learned. Where the template marks them with
// {% generation %}, these; else what a turn adds is found by rendering the conversation up to it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// Which turns are learned, beside what the messages' own keys say.
struct LearnedTurns {
  bool all = false;        // everything, prompts too
  bool last_only = false;  // of the turns to learn, the last
  std::vector<std::string> roles = {"assistant"};
};

/// A conversation's text, and the bytes [begin, end) of it to learn: sorted and disjoint.
struct LearnedText {
  jinja::Rendered text;
  std::vector<std::pair<size_t, size_t>> learned;
  int64_t unended = 0;    // turns to learn that no end token closes
  int64_t rewritten = 0;  // those whose prompt reads otherwise here than when they are made
  std::vector<std::string> unprinted = {};  // keys of messages that the template leaves out
};

/// What the generation prompt supplies is not learned; what ends a turn is: the first of `ends` in
/// what the template puts behind it, else the last special token of that. jinja::TemplateRefusal
/// when the template does not take the conversation. Error when a turn leaves no trace in the text,
/// or where it begins cannot be told.
LearnedText learned_text(const ChatTemplate& chat, const Conversation& conversation,
                         const LearnedTurns& turns, const Tokenizer& tokenizer,
                         std::span<const int32_t> ends);

/// The text as pieces: `literal` is what came from data, and no token reaches into a learned
/// stretch or out of it.
std::vector<TextPiece> pieces_of(const LearnedText& text);

/// By token, whether the piece that it begins in is learned.
std::vector<bool> learned_tokens(std::span<const TextPiece> pieces, const Encoding& encoding);

}  // namespace tessera::launch
