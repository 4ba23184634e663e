#include "launch/text/tokenizer/tokenizer.h"

#include <algorithm>
#include <filesystem>

#include "launch/text/tokenizer/tokenizer_encoder.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
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

}  // namespace

/// What copies of a Tokenizer share.
struct Tokenizer::State {
  TokenizerParts parts;
  std::string path;
  TokenizerFiles files;
};

Tokenizer Tokenizer::load(const std::string& path) {
  TokenizerJson json = read_tokenizer(path);
  TokenizerParts parts = make_tokenizer_parts(json);
  return Tokenizer(std::make_shared<State>(State{std::move(parts), path, std::move(json.files)}));
}

Encoding Tokenizer::encode(std::span<const TextPiece> pieces) const {
  return encode_pieces(state_->parts, pieces);
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
    if (skip_special && parts.left_out[size_t(id)]) continue;
    parts.decoder.push(parts.spelling(id), decoding, text);
  }
  parts.decoder.finish(decoding, text);
  return text;
}

std::optional<int32_t> Tokenizer::bos_id() const { return state_->parts.bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return state_->parts.eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return state_->parts.pad; }
bool Tokenizer::adds_bos() const { return state_->parts.adds_bos(); }
const std::vector<int32_t>& Tokenizer::prefix_ids() const { return state_->parts.prefix; }
const std::vector<int32_t>& Tokenizer::suffix_ids() const { return state_->parts.suffix; }

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const std::string name(token);
  const auto found = state_->parts.added_ids.find(name);
  return found != state_->parts.added_ids.end() ? std::optional(found->second)
                                                : state_->parts.model.find(name);
}

const std::string& Tokenizer::token(int32_t id) const {
  static const std::string none;
  return id < 0 || id >= vocab_size() ? none : state_->parts.tokens[size_t(id)];
}

int64_t Tokenizer::vocab_size() const { return int64_t(state_->parts.tokens.size()); }
const std::string& Tokenizer::chat_template() const {
  static const std::string none;
  const auto found = chat_templates().find("default");
  return found == chat_templates().end() ? none : found->second;
}
const std::map<std::string, std::string>& Tokenizer::chat_templates() const {
  return state_->parts.chat_templates;
}
const std::map<std::string, std::string>& Tokenizer::named_tokens() const {
  return state_->parts.named_tokens;
}
bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && state_->parts.special[size_t(id)];
}
const std::vector<std::string>& Tokenizer::notes() const { return state_->parts.notes; }

const TokenizerFiles& Tokenizer::files() const { return state_->files; }

std::string StreamDecoder::push(int32_t id) {
  const TokenizerParts& parts = tokenizer_.state_->parts;
  if (tokenizer_.token(id).empty()) fail("{}: no token has the id {}", tokenizer_.state_->path, id);
  std::string text;
  if (!parts.left_out[size_t(id)]) parts.decoder.push(parts.spelling(id), decoding_, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  tokenizer_.state_->parts.decoder.finish(decoding_, text);
  return text;
}

}  // namespace tessera::launch
