#include "launch/text/tokenizer.h"

#include <algorithm>
#include <filesystem>

#include "launch/text/tokenizer_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// A tokenizer.json alone.
TokenizerJson read_tokenizer_file(const std::string& path) {
  TokenizerJson out;
  out.files.emplace_back("tokenizer.json", io::read_file(path, kLargestTokenizerFile));
  out.tokenizer_source = path;
  out.tokenizer = io::parse_json(out.files.front().second, path);
  return out;
}

TokenizerJson read_tokenizer(const std::string& path) {
  if (io::is_folder(path)) return read_tokenizer_folder(path);
  return fs::path(path).extension() == ".gguf" ? read_gguf_tokenizer(path)
                                               : read_tokenizer_file(path);
}

/// The pieces as one text, checked, and which of its bytes are literal.
struct Joined {
  AlignedText text;
  std::vector<uint8_t> literal;  // empty when nothing is
};

Joined join(std::span<const TextPiece> pieces) {
  Joined joined;
  for (const TextPiece& piece : pieces) {
    if (const auto broken = find_invalid_utf8(piece.text)) {
      fail("the text is not valid UTF-8 at byte {}", joined.text.text.size() + *broken);
    }
    joined.text.text += piece.text;
  }
  const std::string& text = joined.text.text;
  if (text.size() > size_t{INT32_MAX}) {
    fail("a text of {} bytes is too long to tokenize; the longest has {}", text.size(), INT32_MAX);
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
    for (const auto& part : parts_.raw_tokens.split(all.text, joined_.literal, out_.spelled_out)) {
      const AlignedView view = all.part(part.begin, part.end);
      if (part.id >= 0) {
        add(part.id, view);
      } else if (parts_.normalizer.empty()) {
        encode_normalized(view);
      } else {
        const AlignedText normalized = parts_.normalizer.normalize(view);
        encode_normalized(normalized.view());
      }
    }
    return std::move(out_);
  }

 private:
  void encode_normalized(AlignedView text) {
    std::vector<uint8_t> literal;
    if (!joined_.literal.empty() && !parts_.normalized_tokens.empty()) {
      literal.resize(text.text.size());
      for (size_t i = 0; i < literal.size(); ++i) {
        literal[i] = joined_.literal[size_t(text.origin[i])];
      }
    }
    for (const auto& part : parts_.normalized_tokens.split(text.text, literal, out_.spelled_out)) {
      const AlignedView view = text.part(part.begin, part.end);
      if (part.id >= 0) {
        add(part.id, view);
        continue;
      }
      Words words;
      parts_.pretokenizer.split(view, words);
      for (const AlignedView& word : words.views) parts_.bpe.encode(word, scratch_, out_);
    }
  }

  void add(int32_t id, AlignedView token) {
    out_.ids.push_back(id);
    out_.begins.push_back(token.origin[0]);
  }

  const TokenizerParts& parts_;
  const Joined& joined_;
  Bpe::Scratch scratch_;
  Encoding out_;
};

}  // namespace

/// What copies of a Tokenizer share.
struct Tokenizer::State {
  TokenizerParts parts;
  std::string path;
  std::vector<std::pair<std::string, std::string>> files;
};

Tokenizer Tokenizer::load(const std::string& path) {
  TokenizerJson json = read_tokenizer(path);
  TokenizerParts parts = make_tokenizer_parts(json);
  return Tokenizer(std::make_shared<State>(State{std::move(parts), path, std::move(json.files)}));
}

Encoding Tokenizer::encode(std::span<const TextPiece> pieces) const {
  const Joined joined = join(pieces);
  return Encoder(state_->parts, joined).run();
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  const TextPiece piece{std::string(text), /*literal=*/!parse_special};
  return encode(std::span(&piece, 1)).ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const TokenizerParts& parts = state_->parts;
  TokenDecoder::State decoding;
  std::string text;
  for (int32_t id : ids) {
    if (token(id).empty()) fail("{}: no token has the id {}", state_->path, id);
    if (skip_special && parts.special[size_t(id)]) continue;
    parts.decoder.push(token(id), decoding, text);
  }
  parts.decoder.finish(decoding, text);
  return text;
}

std::optional<int32_t> Tokenizer::bos_id() const { return state_->parts.bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return state_->parts.eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return state_->parts.pad; }
bool Tokenizer::adds_bos() const { return state_->parts.adds_bos; }

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const std::string name(token);
  const auto found = state_->parts.added_ids.find(name);
  return found != state_->parts.added_ids.end() ? std::optional(found->second)
                                                : state_->parts.bpe.find(name);
}

const std::string& Tokenizer::token(int32_t id) const {
  static const std::string none;
  return id < 0 || id >= vocab_size() ? none : state_->parts.tokens[size_t(id)];
}

int64_t Tokenizer::vocab_size() const { return int64_t(state_->parts.tokens.size()); }
const std::string& Tokenizer::chat_template() const { return state_->parts.chat_template; }
const std::vector<std::string>& Tokenizer::notes() const { return state_->parts.notes; }

std::vector<std::pair<std::string, std::string>> Tokenizer::files() const { return state_->files; }

std::string StreamDecoder::push(int32_t id) {
  const TokenizerParts& parts = tokenizer_.state_->parts;
  const std::string& token = tokenizer_.token(id);
  if (token.empty()) fail("{}: no token has the id {}", tokenizer_.state_->path, id);
  std::string text;
  if (!parts.special[size_t(id)]) parts.decoder.push(token, decoding_, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  tokenizer_.state_->parts.decoder.finish(decoding_, text);
  return text;
}

}  // namespace tessera::launch
