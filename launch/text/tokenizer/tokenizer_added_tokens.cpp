#include "launch/text/tokenizer/tokenizer_added_tokens.h"

#include <algorithm>

#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

bool word_before(std::string_view text, size_t at) {
  return at > 0 && is_word_point(utf8_at(text, previous_point(text, at)));
}

bool word_after(std::string_view text, size_t at) {
  return at < text.size() && is_word_point(utf8_at(text, at));
}

size_t skip_space_before(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const size_t previous = previous_point(text, at);
    if (!is_white_space(utf8_at(text, previous))) break;
    at = previous;
  }
  return std::max(at, limit);
}

size_t skip_space_after(std::string_view text, size_t at) {
  while (at < text.size() && is_white_space(utf8_at(text, at))) at += utf8_length(text[at]);
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens,
                                     const std::string& source)
    : tokens_(tokens), nodes_(1) {
  for (size_t index = 0; index < tokens_.size(); ++index) {
    const std::string& content = tokens_[index].content;
    if (content.empty() || content.size() > kLongest) {
      fail("{}: an added token must have 1 to {} bytes; the one with id {} has {}", source,
           kLongest, tokens_[index].id, content.size());
    }
    firsts_.set(static_cast<unsigned char>(content[0]));
    int32_t node = 0;
    for (char c : content) {
      int32_t next = child_of(node, c);
      if (next < 0) {
        next = int32_t(nodes_.size());
        auto& children = nodes_[size_t(node)].children;
        const std::pair<char, int32_t> entry(c, next);
        children.insert(std::upper_bound(children.begin(), children.end(), entry), entry);
        nodes_.emplace_back();
      }
      node = next;
    }
    // Normalization may make two contents equal; the first holds, as in the reference.
    if (nodes_[size_t(node)].token < 0) nodes_[size_t(node)].token = int32_t(index);
  }
}

int32_t AddedTokenMatcher::child_of(int32_t node, char c) const {
  const auto& children = nodes_[size_t(node)].children;
  const auto found = std::lower_bound(children.begin(), children.end(), std::pair(c, int32_t{-1}));
  return found == children.end() || found->first != c ? -1 : found->second;
}

AddedTokenMatcher::Found AddedTokenMatcher::longest_at(std::string_view text, size_t at,
                                                       std::span<const uint8_t> literal) const {
  Found longest;
  int32_t node = 0;
  for (bool touches_literal = false; at < text.size(); ++at) {
    touches_literal |= !literal.empty() && literal[at];
    node = child_of(node, text[at]);
    if (node < 0) break;
    const int32_t token = nodes_[size_t(node)].token;
    if (token < 0) continue;
    const bool barred = touches_literal && tokens_[size_t(token)].special;
    (barred ? longest.barred : longest.token) = token;
  }
  return longest;
}

std::vector<AddedTokenMatcher::Part> AddedTokenMatcher::split(
    std::string_view text, std::span<const uint8_t> literal,
    std::vector<int32_t>& spelled_out) const {
  std::vector<Part> parts;
  size_t done = 0;  // everything before is in parts
  for (size_t at = 0; at < text.size();) {
    const bool possible = firsts_[static_cast<unsigned char>(text[at])];
    const auto [found, barred] = possible ? longest_at(text, at, literal) : Found();
    if (found < 0) {
      if (barred >= 0) spelled_out.push_back(tokens_[size_t(barred)].id);
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[size_t(found)];
    size_t begin = at;
    size_t end = at + token.content.size();
    at = end;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip) begin = skip_space_before(text, begin, done);
    if (token.rstrip) end = skip_space_after(text, end);
    if (begin >= end) continue;  // white space that the token before it took
    if (done < begin) parts.push_back({-1, done, begin});
    parts.push_back({token.id, begin, end});
    done = end;
  }
  if (done < text.size()) parts.push_back({-1, done, text.size()});
  return parts;
}

}  // namespace tessera::launch
