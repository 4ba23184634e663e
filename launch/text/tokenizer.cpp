#include "launch/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "launch/text/tokenizer_fields.h"
#include "launch/text/tokenizer_gguf.h"
#include "launch/text/tokenizer_state.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestFile = size_t{512} << 20;

/// What transformers may read of a tokenizer, in a folder.
constexpr std::array<const char*, 9> kFiles = {"tokenizer.json",
                                               "tokenizer_config.json",
                                               "special_tokens_map.json",
                                               "added_tokens.json",
                                               "chat_template.jinja",
                                               "chat_template.json",
                                               "vocab.json",
                                               "merges.txt",
                                               "tokenizer.model"};

/// "eos_token_id" of a model's file: a number, the first of a list, or nothing.
std::optional<int32_t> model_eos(const std::string& path) {
  if (!io::exists(path)) return std::nullopt;
  const auto config = io::read_json_file(path, kLargestFile);
  if (!config.is_object() || !config.contains("eos_token_id")) return std::nullopt;
  auto id = config["eos_token_id"];
  if (id.is_array() && !id.empty()) id = nlohmann::json(id[0]);
  if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t(kMaxTokenId)) return std::nullopt;
  return id.get<int32_t>();
}

TokenizerJson read_folder(const fs::path& folder) {
  const auto at = [&](const char* name) { return (folder / name).string(); };
  if (!io::exists(at("tokenizer.json"))) {
    fail("{}: there is no tokenizer.json{}", folder.string(),
         io::exists(at("tokenizer.model"))
             ? "; a SentencePiece tokenizer.model alone is not supported: convert it by loading "
               "and saving the tokenizer with transformers"
             : "");
  }
  TokenizerJson files;
  files.tokenizer_source = at("tokenizer.json");
  files.tokenizer = io::read_json_file(files.tokenizer_source, kLargestFile);
  files.config_source = at("tokenizer_config.json");
  if (io::exists(files.config_source)) {
    files.config = io::read_json_file(files.config_source, kLargestFile);
  }
  if (!files.config.is_object()) return files;  // an error, which its reader reports
  if (io::exists(at("special_tokens_map.json"))) {
    const auto map = io::read_json_file(at("special_tokens_map.json"), kLargestFile);
    for (const char* key : {"bos_token", "eos_token", "pad_token"}) {
      if (map.is_object() && map.contains(key) && !files.config.contains(key)) {
        files.config[key] = map[key];
      }
    }
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    if (files.model_eos) break;
    files.model_eos = model_eos(at(name));
    files.model_eos_source = name;
  }
  if (io::exists(at("chat_template.jinja"))) {
    files.config["chat_template"] = io::read_file(at("chat_template.jinja"), kLargestFile);
  }
  return files;
}

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

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

Tokenizer Tokenizer::load(const std::string& path) {
  TokenizerJson files;
  if (io::is_folder(path)) {
    files = read_folder(path);
  } else if (is_gguf(path)) {
    files = read_gguf_tokenizer(path);
  } else {
    files.tokenizer_source = path;
    files.tokenizer = io::read_json_file(path, kLargestFile);
  }
  return Tokenizer(std::make_shared<State>(make_tokenizer_parts(files), path));
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

std::vector<std::pair<std::string, std::string>> Tokenizer::files() const {
  std::vector<std::pair<std::string, std::string>> files;
  const fs::path path = state_->path;
  if (is_gguf(path)) {
    const TokenizerJson json = read_gguf_tokenizer(path.string());
    files.emplace_back("tokenizer.json", json.tokenizer.dump());
    files.emplace_back("tokenizer_config.json", json.config.dump(2));
  } else if (!io::is_folder(path)) {
    files.emplace_back("tokenizer.json", io::read_file(path.string(), kLargestFile));
  } else {
    for (const char* name : kFiles) {
      if (!io::exists(path / name)) continue;
      files.emplace_back(name, io::read_file((path / name).string(), kLargestFile));
    }
  }
  return files;
}

}  // namespace tessera::launch
