#include "launch/text/tokenizer/unigram.h"

#include <algorithm>
#include <array>
#include <limits>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

Vocabulary ids_of(const std::vector<std::pair<std::string, double>>& pieces,
                  const std::string& source) {
  Vocabulary ids;
  ids.reserve(pieces.size());
  size_t bytes = 0;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const std::string& token = pieces[id].first;
    bytes += token.size();
    if (token.size() > Unigram::kLongest || bytes > Unigram::kMostBytes) {
      fail("{}: a token may have {} bytes, and all together {}; with token {} it is more", source,
           Unigram::kLongest, Unigram::kMostBytes, id);
    }
    ids.set(token, int32_t(id));
  }
  return ids;
}

std::vector<std::pair<std::string_view, int32_t>> strings_of(const Vocabulary& vocabulary) {
  auto strings = vocabulary.tokens();
  std::erase_if(strings, [](const auto& token) { return token.first.empty(); });
  return strings;
}

}  // namespace

Unigram::Unigram(std::vector<std::pair<std::string, double>> pieces, std::optional<int32_t> unk_id,
                 bool byte_fallback, const std::string& source)
    : pieces_(std::move(pieces)),
      vocabulary_(ids_of(pieces_, source)),
      trie_(strings_of(vocabulary_)),
      unk_id_(unk_id),
      byte_fallback_(byte_fallback) {
  if (unk_id_ && size_t(*unk_id_) >= pieces_.size()) {
    fail("{}: 'unk_id' is {}, but there are {} tokens", source, *unk_id_, pieces_.size());
  }
  constexpr double kPenalty = 10;  // SentencePiece's, for a character that no token covers
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& piece : pieces_) lowest = std::min(lowest, piece.second);
  unk_score_ = lowest - kPenalty;
}

int32_t Unigram::unknown() const {
  if (!unk_id_) fail("a character is no token, and the tokenizer has no unknown token");
  return *unk_id_;
}

void Unigram::find_best(std::string_view word, std::vector<Best>& best) const {
  best.assign(word.size() + 1, Best());
  for (size_t at = 0; at < word.size();) {
    const double here = best[at].score;
    const size_t character = utf8_length(word[at]);
    bool covered = false;
    const auto offer = [&](size_t length, int32_t id, double score) {
      Best& end = best[at + length];
      if (end.from < 0 || score > end.score) end = {score, int32_t(at), id};
    };
    trie_.find_prefixes(word.substr(at), [&](size_t length, int32_t id) {
      offer(length, id, pieces_[size_t(id)].second + here);
      covered |= length == character;
    });
    if (!covered) offer(character, unknown(), unk_score_ + here);
    at += character;
  }
}

void Unigram::encode(AlignedView word, Scratch& scratch, Encoding& out) const {
  if (word.text.empty()) return;
  find_best(word.text, scratch.best);
  scratch.ends.clear();
  for (auto end = int32_t(word.text.size()); end > 0; end = scratch.best[size_t(end)].from) {
    scratch.ends.push_back(end);
  }
  // Neighbouring unknown characters are one token; so is the unknown token where a text spells it.
  int32_t unknown_from = -1;
  for (auto end = scratch.ends.rbegin(); end != scratch.ends.rend(); ++end) {
    const Best& token = scratch.best[size_t(*end)];
    if (token.id == unk_id_) {
      if (unknown_from < 0) unknown_from = token.from;
      continue;
    }
    if (unknown_from >= 0) {
      append_unknown(word.part(size_t(unknown_from), size_t(token.from)), out);
      unknown_from = -1;
    }
    out.ids.push_back(token.id);
    out.begins.push_back(word.origin[token.from]);
  }
  if (unknown_from >= 0) append_unknown(word.part(size_t(unknown_from), word.text.size()), out);
}

void Unigram::append_unknown(AlignedView part, Encoding& out) const {
  const auto append = [&](int32_t id) {
    out.ids.push_back(id);
    out.begins.push_back(part.origin[0]);
  };
  if (const auto id = vocabulary_.find(part.text)) return append(*id);
  if (byte_fallback_) {
    std::vector<int32_t> bytes;
    for (char c : part.text) {
      const auto id = vocabulary_.find(fmt::format("<0x{:02X}>", uint8_t(c)));
      if (!id) return append(unknown());
      bytes.push_back(*id);
    }
    for (const int32_t id : bytes) append(id);
    return;
  }
  append(unknown());
}

}  // namespace tessera::launch
