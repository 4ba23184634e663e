#include "launch/text/tokenizer/tokenizer_encoder.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// The pieces as one text, checked.
struct Joined {
  AlignedText text;
  std::vector<uint8_t> literal;  // of each byte; empty when none is
  std::vector<int64_t> borders;  // where spans begin, in the midst of the text
};

Joined join(std::span<const TextPiece> pieces) {
  Joined joined;
  std::string& text = joined.text.text;
  for (const TextPiece& piece : pieces) {
    if (const auto broken = find_invalid_utf8(piece.text)) {
      fail("the text is not valid UTF-8 at byte {}", text.size() + *broken);
    }
    const auto begin = int64_t(text.size());
    if (piece.begins_span && begin > 0 &&
        (joined.borders.empty() || joined.borders.back() < begin)) {
      joined.borders.push_back(begin);
    }
    text += piece.text;
  }
  if (text.size() > size_t{INT32_MAX}) {
    fail("a text of {} bytes is too long to tokenize; the longest has {}", text.size(), INT32_MAX);
  }
  if (!joined.borders.empty() && joined.borders.back() == int64_t(text.size())) {
    joined.borders.pop_back();
  }
  joined.text.origin.resize(text.size());
  for (size_t i = 0; i < text.size(); ++i) joined.text.origin[i] = int64_t(i);
  if (std::any_of(pieces.begin(), pieces.end(), [](const auto& p) { return p.literal; })) {
    for (const TextPiece& piece : pieces) {
      joined.literal.insert(joined.literal.end(), piece.text.size(), piece.literal);
    }
  }
  return joined;
}

/// Encodes one joined text.
class Encoder {
 public:
  Encoder(const TokenizerParts& parts, const Joined& joined) : parts_(parts), joined_(joined) {}

  Encoding run() {
    const AlignedView all = joined_.text.view();
    const std::vector<Part> found = find_raw_tokens();
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t begin = found[i].begin;
      if (found[i].id >= 0) {
        add(found[i].id, all.part(begin, found[i].end));
        continue;
      }
      // Normalization sees what lies between two added tokens as a whole.
      while (i + 1 < found.size() && found[i + 1].id < 0) ++i;
      const AlignedView stretch = all.part(begin, found[i].end);
      if (parts_.normalizer.empty()) {
        encode_normalized(stretch);
      } else {
        const AlignedText normalized = parts_.normalizer.normalize(stretch);
        encode_normalized(normalized.view());
      }
    }
    return std::move(out_);
  }

 private:
  using Part = AddedTokenMatcher::Part;

  /// Between two borders the text is searched as if it were alone.
  std::vector<Part> find_raw_tokens() {
    const std::string_view text = joined_.text.text;
    const std::span<const uint8_t> literal = joined_.literal;
    std::vector<Part> found;
    for (size_t i = 0; i <= joined_.borders.size(); ++i) {
      const size_t begin = i == 0 ? 0 : size_t(joined_.borders[i - 1]);
      const size_t end = i == joined_.borders.size() ? text.size() : size_t(joined_.borders[i]);
      for (const Part& part : parts_.raw_tokens.split(
               text.substr(begin, end - begin),
               literal.empty() ? literal : literal.subspan(begin, end - begin), out_.spelled_out)) {
        found.push_back({part.id, begin + part.begin, begin + part.end});
      }
    }
    return found;
  }

  /// The places in `text` where a span begins, and its end.
  std::vector<size_t> ends_of_spans(AlignedView text) const {
    std::vector<size_t> ends;
    const int64_t* const begin = text.origin;
    const int64_t* const end = begin + text.text.size();
    const auto& borders = joined_.borders;
    for (auto border = std::upper_bound(borders.begin(), borders.end(), *begin);
         border != borders.end() && *border <= *(end - 1); ++border) {
      const auto place = size_t(std::lower_bound(begin, end, *border) - begin);
      if (ends.empty() || place > ends.back()) ends.push_back(place);
    }
    ends.push_back(text.text.size());
    return ends;
  }

  void encode_normalized(AlignedView text) {
    if (text.text.empty()) return;
    bool after_text = false;  // in this stretch, with no added token between
    size_t begin = 0;
    for (const size_t end : ends_of_spans(text)) {
      const AlignedView span = text.part(begin, end);
      for (const Part& part :
           parts_.normalized_tokens.split(span.text, literal_of(span), out_.spelled_out)) {
        const AlignedView view = span.part(part.begin, part.end);
        if (part.id >= 0) {
          add(part.id, view);
        } else {
          encode_words(view, /*continues=*/after_text);
        }
        after_text = part.id < 0;
      }
      begin = end;
    }
  }

  std::vector<uint8_t> literal_of(AlignedView text) const {
    std::vector<uint8_t> literal;
    if (joined_.literal.empty() || parts_.normalized_tokens.empty()) return literal;
    literal.resize(text.text.size());
    for (size_t i = 0; i < literal.size(); ++i) {
      literal[i] = joined_.literal[size_t(text.origin[i])];
    }
    return literal;
  }

  void encode_words(AlignedView text, bool continues) {
    thread_local TokenModel::Scratch scratch;
    words_.continues = continues;
    parts_.pretokenizer.split(text, words_);
    for (const AlignedView& word : words_.views) parts_.model.encode(word, scratch, out_);
  }

  void add(int32_t id, AlignedView token) {
    out_.ids.push_back(id);
    out_.begins.push_back(token.origin[0]);
  }

  const TokenizerParts& parts_;
  const Joined& joined_;
  Words words_;
  Encoding out_;
};

}  // namespace

Encoding encode_pieces(const TokenizerParts& parts, std::span<const TextPiece> pieces) {
  const Joined joined = join(pieces);
  return Encoder(parts, joined).run();
}

}  // namespace tessera::launch
