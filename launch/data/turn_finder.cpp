#include "launch/data/turn_finder.h"

#include <algorithm>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using jinja::Mark;
using jinja::Rendered;

constexpr std::string_view kAssistant = "assistant";

/// The last mark of a message before `message` that ends at or before `limit`.
const Mark* last_before(const Rendered& text, size_t message, size_t limit) {
  const Mark* last = nullptr;
  for (const Mark& mark : text.marks) {
    const int32_t of = message_of(mark);
    if (of >= 0 && of < int32_t(message) && mark.end <= limit) last = &mark;
  }
  return last;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  return size_t(std::ranges::mismatch(a, b).in1 - a.begin());
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// Where the tags at the end of a generation prompt begin, such as <think> or [/THINK], which open
/// or close a thought.
size_t begin_of_tags(std::string_view prompt) {
  size_t begin = prompt.size();
  while (true) {
    const size_t last = prompt.substr(0, begin).find_last_not_of(" \n");
    if (last == prompt.npos || (prompt[last] != '>' && prompt[last] != ']')) return begin;
    const char opening = prompt[last] == '>' ? '<' : '[';
    size_t at = last;
    while (at > 0 && (is_word(prompt[at - 1]) || prompt[at - 1] == '/')) --at;
    if (at == last || at == 0 || prompt[at - 1] != opening) return begin;
    begin = at - 1;
  }
}

/// Bytes of the tags that both begin with.
size_t tags_in_common(std::string_view tags, std::string_view text) {
  size_t same = common_prefix(tags, text);
  while (same > 0 && tags[same - 1] != '>' && tags[same - 1] != ']' && tags[same - 1] != '\n') {
    --same;
  }
  return same;
}

}  // namespace

std::string role_of(const Conversation& conversation, size_t message) {
  return conversation.messages[message].value("role", "");
}

std::string name_of(const Conversation& conversation, size_t message) {
  return fmt::format("message {} ({})", message + 1, io::printable(role_of(conversation, message)));
}

std::optional<std::pair<size_t, size_t>> extent(const Rendered& text, size_t message) {
  std::optional<std::pair<size_t, size_t>> found;
  for (const Mark& mark : text.marks) {
    if (message_of(mark) != int32_t(message)) continue;
    if (!found) found = std::pair(mark.begin, mark.end);
    found->second = mark.end;
  }
  return found;
}

Turn TurnFinder::find(size_t message) {
  Turn turn;
  const auto said = extent(text_, message);
  const bool generated = role_of(conversation_, message) == kAssistant;
  if (!generated && !said) return turn;
  turn.begin = generated ? begin_of(message, said, turn) : said->first;
  turn.end = end_of(message, said.has_value(), turn);
  require_alone(message, turn);
  return turn;
}

/// Where the generation prompt ends in the text.
size_t TurnFinder::begin_of(size_t message, const std::optional<Span>& said, Turn& turn) {
  const Mark* here = last_before(text_, message, said ? said->first : text_.text.size());
  const size_t behind = here ? here->end : 0;
  if (message > 0) {
    if (const auto end = end_of_header(message, behind, here, turn)) return *end;
  }
  // Else the prompt is looked for before what is said; without the thought that it opens or
  // closes, too, as that is left out of earlier turns.
  const std::string_view before =
      said ? from(behind).substr(0, said->first - behind) : zone(message, behind);
  const std::string prompt = generation_prompt(message);
  if (prompt.empty() && said) return said->first;
  const size_t tags = begin_of_tags(prompt);
  for (const size_t length : {prompt.size(), tags}) {
    const std::string_view part = std::string_view(prompt).substr(0, length);
    const size_t found = said ? before.rfind(part) : before.find(part);
    if (part.empty() || found == before.npos) continue;
    const size_t end = behind + found + length;
    return end + tags_in_common(std::string_view(prompt).substr(length), from(end));
  }
  fail(
      "what {} says cannot be told from the rest: the template prompts for it with \"{}\", but "
      "writes \"{}\"",
      name_of(conversation_, message), io::printable(prompt, 200),
      io::printable(from(behind), 200));
}

/// Where the text between the message before and this one ends, if it is that of the generation
/// prompt made after the messages before. What comes before them may be written in another way
/// once the conversation has gone on.
std::optional<size_t> TurnFinder::end_of_header(size_t message, size_t behind, const Mark* here,
                                                Turn& turn) const {
  const Rendered prompt = chat_.render(message, /*add_generation_prompt=*/true);
  const Mark* before = last_before(prompt, message, prompt.text.size());
  turn.rewritten = !text_.text.starts_with(prompt.text);
  if ((before ? message_of(*before) : -1) != (here ? message_of(*here) : -1)) {
    return std::nullopt;
  }
  const std::string_view header = std::string_view(prompt.text).substr(before ? before->end : 0);
  if (!from(behind).starts_with(header)) return std::nullopt;
  return behind + header.size();
}

/// What add_generation_prompt adds to the messages before; for the first one, which many templates
/// need, to the whole conversation.
std::string TurnFinder::generation_prompt(size_t message) const {
  const size_t shown = message > 0 ? message : conversation_.messages.size();
  const std::string open = chat_.render(shown, /*add_generation_prompt=*/true).text;
  const std::string closed = chat_.render(shown, /*add_generation_prompt=*/false).text;
  return open.substr(begin_of_token(open, common_prefix(open, closed)));
}

/// Where the turn ends. It is looked for in the text up to this turn, after which nothing comes,
/// and then in the whole text, where later messages may repeat parts of this one.
size_t TurnFinder::end_of(size_t message, bool said, Turn& turn) const {
  const bool generated = role_of(conversation_, message) == kAssistant;
  const size_t begin = turn.begin;
  Rendered alone;
  try {
    alone = chat_.render(message + 1, /*add_generation_prompt=*/false);
  } catch (const jinja::TemplateRefusal&) {
    // It takes the whole conversation, but not its beginning.
  }
  std::string_view closing;
  if (const auto there = extent(alone, message)) {
    closing = std::string_view(alone.text).substr(there->second);
  } else if (alone.text.starts_with(std::string_view(text_.text).substr(0, begin))) {
    closing = std::string_view(alone.text).substr(begin);
  }
  const size_t length = end_token(closing);
  size_t content_end = begin;
  for (const Mark& mark : text_.marks) {
    if (mark.end <= begin || message_of(mark) < 0) continue;
    if (message_of(mark) != int32_t(message)) break;
    content_end = std::max(begin, mark.end);
    if (length > 0 && from(content_end).starts_with(closing.substr(0, length))) break;
  }
  const std::string_view rest = zone(message, content_end);
  if (length > 0 && rest.starts_with(closing.substr(0, length))) return content_end + length;
  return content_end + other_end(closing, rest, said, generated, turn);
}

/// Bytes of what ends a turn that ends in another way than where it is the last: a token that
/// both ways have; else the one in whose place the other way has another, which may be that of
/// the next turn.
size_t TurnFinder::other_end(std::string_view closing, std::string_view rest, bool said,
                             bool generated, Turn& turn) const {
  const size_t same = begin_of_token(rest, common_prefix(closing, rest));
  const size_t last = end_token(rest.substr(0, same));
  if (said && last > 0) return last;
  const size_t next = rest.find_first_not_of(" \t\r\n", same);
  if (generated && next != rest.npos) {
    if (const auto token = special_token(rest, next)) return token->second;
  }
  turn.ended = false;
  const size_t letters = rest.substr(0, same).find_last_not_of(" \t\r\n");
  return letters == rest.npos ? 0 : letters + 1;
}

/// What the template wrote between `at` and the next message.
std::string_view TurnFinder::zone(size_t message, size_t at) const {
  size_t end = text_.text.size();
  for (const Mark& mark : text_.marks) {
    if (mark.begin >= at && message_of(mark) >= 0 && message_of(mark) != int32_t(message)) {
      end = std::min(end, mark.begin);
    }
  }
  return from(at).substr(0, end - at);
}

Encoding TurnFinder::encode(std::string_view markup) const {
  const TextPiece piece{std::string(markup)};
  return tokenizer_.encode(std::span(&piece, 1));
}

/// Where the first token of `ends` ends, else the last special one; 0 where there is none.
size_t TurnFinder::end_token(std::string_view closing) const {
  size_t last = 0;
  const Encoding encoding = encode(closing);
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const bool ends = std::ranges::find(ends_, encoding.ids[i]) != ends_.end();
    if (!ends && !tokenizer_.is_special(encoding.ids[i])) continue;
    last = i + 1 < encoding.ids.size() ? size_t(encoding.begins[i + 1]) : closing.size();
    if (ends) break;
  }
  return last;
}

/// The special token of `markup` that the byte `at` belongs to.
std::optional<TurnFinder::Span> TurnFinder::special_token(std::string_view markup,
                                                          size_t at) const {
  const Encoding encoding = encode(markup);
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const size_t end = i + 1 < encoding.ids.size() ? size_t(encoding.begins[i + 1]) : markup.size();
    if (end <= at) continue;
    if (!tokenizer_.is_special(encoding.ids[i])) return std::nullopt;
    return Span(size_t(encoding.begins[i]), end);
  }
  return std::nullopt;
}

/// `at`, or where the special token begins in whose midst that is.
size_t TurnFinder::begin_of_token(std::string_view markup, size_t at) const {
  const auto token = special_token(markup, at);
  return token ? token->first : at;
}

void TurnFinder::require_alone(size_t message, const Turn& turn) const {
  for (const Mark& mark : text_.marks) {
    const MessagePart of = MessagePart::of(mark);
    if (of.message < 0) continue;
    const bool own = of.message == int32_t(message);
    if (!own && mark.begin < turn.end && mark.end > turn.begin) {
      fail("what {} says cannot be told from the rest: the template puts {} into it",
           name_of(conversation_, message), name_of(conversation_, size_t(of.message)));
    }
    // The name of a function that was called may be repeated, a text may not.
    if (own && of.part < MessagePart::kFirstCall && mark.begin >= turn.end) {
      fail("what {} says cannot be told from the rest: the template writes it in two places",
           name_of(conversation_, message));
    }
  }
}

}  // namespace tessera::launch
