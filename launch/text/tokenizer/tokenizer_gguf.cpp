#include "launch/text/tokenizer/gguf_vocabulary.h"
#include "launch/text/tokenizer/tokenizer_chat_templates.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// A token that the file gives the id of, or else `otherwise`, where there is such a token.
std::optional<NamedId> named_token(const io::GgufFile& file, const GgufVocabulary& vocabulary,
                                   const std::string& key, std::optional<int64_t> otherwise) {
  const auto size = int64_t(vocabulary.tokens.size());
  if (!file.has(key)) {
    if (!otherwise || *otherwise >= size) return std::nullopt;
    return NamedId(vocabulary.tokens[size_t(*otherwise)], size_t(*otherwise));
  }
  const int64_t id = file.integer(key);
  if (id < 0 || id >= size) {
    fail("{}: {} is {}, but there are {} tokens, with the ids 0 to {}", file.path(), key, id, size,
         size - 1);
  }
  return NamedId(vocabulary.tokens[size_t(id)], size_t(id));
}

ChatTemplates chat_templates_of(const io::GgufFile& file) {
  ChatTemplates templates;
  const auto take = [&](const std::string& name, const std::string& key) {
    const std::string text = file.string(key);
    if (find_invalid_utf8(text)) fail("{}: {} is not valid UTF-8", file.path(), key);
    templates[name] = text;
  };
  const std::string key = "tokenizer.chat_template";
  if (file.has(key)) take("default", key);
  if (!file.has("tokenizer.chat_templates")) return templates;
  for (const std::string& name : file.strings("tokenizer.chat_templates")) {
    if (find_invalid_utf8(name)) {
      fail("{}: tokenizer.chat_templates is not valid UTF-8", file.path());
    }
    take(name, key + "." + name);
  }
  return templates;
}

/// The token put at one end of a text, where the file or, if it is silent, `otherwise` says so.
std::optional<NamedId> around(const io::GgufFile& file, const char* flag, bool otherwise,
                              const std::optional<NamedId>& token, const char* key) {
  const bool adds = file.has(flag) ? file.boolean(flag) : otherwise;
  if (!adds) return std::nullopt;
  if (!token) fail("{}: {} is missing, but it is to be put around texts", file.path(), key);
  return token;
}

}  // namespace

TokenizerJson read_gguf_tokenizer(const std::string& path) {
  const io::GgufFile file(path);
  GgufVocabulary vocabulary = read_gguf_vocabulary(file);
  constexpr const char* kBos = "tokenizer.ggml.bos_token_id";
  constexpr const char* kEos = "tokenizer.ggml.eos_token_id";
  const auto named = [&](const char* key, std::optional<int64_t> otherwise) {
    return named_token(file, vocabulary, key, otherwise);
  };
  const auto bos = named(kBos, vocabulary.bos);
  const auto eos = named(kEos, vocabulary.eos);
  const auto pad = named("tokenizer.ggml.padding_token_id", vocabulary.pad);
  const auto text = [](const std::optional<NamedId>& token) {
    return token ? json(token->first) : json(nullptr);
  };
  TokenizerJson out;
  out.tokenizer_source = out.config_source = path;
  out.config = {{"tokenizer_class", kPlainTokenizerClass},
                {"clean_up_tokenization_spaces", false},
                {"bos_token", text(bos)},
                {"eos_token", text(eos)},
                {"pad_token", text(pad)}};
  if (vocabulary.unk) {
    out.config["unk_token"] = text(named("tokenizer.ggml.unknown_token_id", vocabulary.unk));
  }
  const ChatTemplates templates = chat_templates_of(file);
  if (!templates.empty()) out.config["chat_template"] = chat_templates_json(templates);
  out.notes = std::move(vocabulary.notes);
  vocabulary.parts["post_processor"] =
      text_template(around(file, "tokenizer.ggml.add_bos_token", vocabulary.adds_bos, bos, kBos),
                    around(file, "tokenizer.ggml.add_eos_token", vocabulary.adds_eos, eos, kEos));
  out.tokenizer = whole_tokenizer(std::move(vocabulary.parts));
  put_tokenizer_file(out);
  put_config_file(out);
  return out;
}

}  // namespace tessera::launch
