#include "launch/data/learned_spans.h"

#include <algorithm>
#include <optional>

#include "launch/data/turn_finder.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using jinja::Mark;
using jinja::Rendered;
using Json = Conversation::Json;
using Span = std::pair<size_t, size_t>;

bool is_blank(const Json& content) {
  if (content.is_string()) {
    return content.get_ref<const std::string&>().find_first_not_of(" \t\r\n") == std::string::npos;
  }
  return std::ranges::all_of(content, [](const Json& part) {
    return is_blank(part.is_object() ? part.value("text", Json("")) : part);
  });
}

/// The parts of a message that say something.
std::vector<std::pair<int32_t, std::string>> parts_of(const Json& message) {
  std::vector<std::pair<int32_t, std::string>> parts;
  const auto add = [&](std::string_view key, int32_t part) {
    const auto found = message.find(key);
    if (found != message.end() && !found->is_null() && !is_blank(*found)) {
      parts.emplace_back(part, std::string(key));
    }
  };
  add("content", MessagePart::kContent);
  for (const std::string_view key : kReasoningKeys) {
    if (parts.empty() || parts.back().first != MessagePart::kReasoning) {
      add(key, MessagePart::kReasoning);
    }
  }
  const auto calls = message.find("tool_calls");
  if (calls != message.end() && calls->is_array()) {
    for (int32_t i = 0; i < int32_t(calls->size()); ++i) {
      parts.emplace_back(MessagePart::kFirstCall + i, "tool_calls");
    }
  }
  return parts;
}

/// The message that a {% generation %} block belongs to: whose bytes it holds, else the one behind
/// the last that came before it.
size_t message_of_block(const Conversation& conversation, const Rendered& text, const Span& block) {
  int32_t before = -1;
  for (const Mark& mark : text.marks) {
    if (message_of(mark) < 0 || mark.begin >= block.second) continue;
    if (mark.end > block.first) return size_t(message_of(mark));
    before = message_of(mark);
  }
  const size_t next = size_t(before + 1);
  if (next >= conversation.messages.size()) {
    fail("the template marks bytes {} to {} of its text as generated, but no message is there",
         block.first, block.second);
  }
  return next;
}

/// Which messages are to be learned.
std::vector<bool> wanted(const Conversation& conversation, const LearnedTurns& turns) {
  std::vector<bool> out(conversation.messages.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const bool by_role =
        turns.all || std::ranges::find(turns.roles, role_of(conversation, i)) != turns.roles.end();
    const auto said = conversation.learned.empty() ? std::nullopt : conversation.learned[i];
    out[i] = said.value_or(by_role);
  }
  if (turns.last_only) {
    const auto last = std::find(out.rbegin(), out.rend(), true);
    if (last != out.rend()) std::fill(last + 1, out.rend(), false);
  }
  return out;
}

/// Whether the text has all of a content that is a string, but blanks at its ends.
bool is_whole(const Json& content, const Rendered& text, int32_t source) {
  if (!content.is_string()) return true;
  const std::string& bytes = content.get_ref<const std::string&>();
  size_t printed = 0;
  for (const Mark& mark : text.marks) printed += mark.source == source ? mark.end - mark.begin : 0;
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first == bytes.npos || printed >= bytes.find_last_not_of(" \t\r\n") + 1 - first;
}

/// Names the parts of messages that left nothing in the text, or not all. Error where a message
/// left nothing.
void find_unprinted(const Conversation& conversation, LearnedText& out) {
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const Json& message = conversation.messages[i];
    const auto parts = parts_of(message);
    if (!parts.empty() && !extent(out.text, i)) {
      fail("the chat template leaves {} out of the text", name_of(conversation, i));
    }
    for (const auto& [part, key] : parts) {
      const int32_t source = MessagePart{int32_t(i), part}.source();
      if (std::ranges::find(out.text.marks, source, &Mark::source) == out.text.marks.end()) {
        out.unprinted.push_back(key);
      } else if (key == "content" && !is_whole(message["content"], out.text, source)) {
        out.unprinted.push_back("part of the content");
      }
    }
  }
}

/// Everything but `spans`, which are sorted.
std::vector<Span> others(const std::vector<Span>& spans, size_t size) {
  std::vector<Span> out;
  size_t at = 0;
  for (const auto& [begin, end] : spans) {
    if (begin > at) out.emplace_back(at, begin);
    at = std::max(at, end);
  }
  if (size > at) out.emplace_back(at, size);
  return out;
}

}  // namespace

LearnedText learned_text(const ChatTemplate& chat, const Conversation& conversation,
                         const LearnedTurns& turns, const Tokenizer& tokenizer,
                         std::span<const int32_t> ends) {
  const ChatTemplate::Chat prepared = chat.chat(conversation);
  LearnedText out;
  out.text = prepared.render(/*add_generation_prompt=*/false);
  find_unprinted(conversation, out);
  const std::vector<bool> wants = wanted(conversation, turns);
  // Of everything, what is to be left out is looked for.
  const bool listed = !turns.all || turns.last_only;
  const bool by_blocks = chat.marks_generation(conversation);
  if (by_blocks) {
    for (const Span& block : out.text.generation) {
      if (wants[message_of_block(conversation, out.text, block)] == listed)
        out.learned.push_back(block);
    }
  }
  TurnFinder finder(prepared, conversation, out.text, tokenizer, ends);
  for (size_t i = 0; i < wants.size(); ++i) {
    if (wants[i] != listed || (by_blocks && role_of(conversation, i) == "assistant")) continue;
    const Turn turn = finder.find(i);
    if (turn.end == turn.begin) continue;
    out.learned.emplace_back(turn.begin, turn.end);
    out.unended += !turn.ended;
    out.rewritten += turn.rewritten;
  }
  std::ranges::sort(out.learned);
  if (!listed) out.learned = others(out.learned, out.text.text.size());
  return out;
}

std::vector<TextPiece> pieces_of(const LearnedText& text) {
  std::vector<TextPiece> pieces;
  auto span = text.learned.begin();
  size_t begin = 0;
  for (TextPiece& piece : pieces_of(text.text)) {
    // The piece, cut where a span begins or ends in it.
    for (size_t at = 0; at < piece.text.size();) {
      while (span != text.learned.end() && span->second <= begin + at) ++span;
      const bool learned = span != text.learned.end() && span->first <= begin + at;
      const size_t next = span == text.learned.end() ? std::string::npos
                          : learned                  ? span->second - begin
                                                     : span->first - begin;
      const size_t end = std::min(piece.text.size(), next);
      TextPiece part{piece.text.substr(at, end - at), piece.literal, learned};
      part.begins_span = !pieces.empty() && pieces.back().learned != learned;
      pieces.push_back(std::move(part));
      at = end;
    }
    begin += piece.text.size();
  }
  return pieces;
}

std::vector<bool> learned_tokens(std::span<const TextPiece> pieces, const Encoding& encoding) {
  std::vector<bool> learned;
  learned.reserve(encoding.ids.size());
  size_t piece = 0;
  int64_t end = pieces.empty() ? 0 : int64_t(pieces[0].text.size());
  for (const int64_t begin : encoding.begins) {
    while (begin >= end && piece + 1 < pieces.size()) end += int64_t(pieces[++piece].text.size());
    learned.push_back(pieces[piece].learned);
  }
  return learned;
}

}  // namespace tessera::launch
