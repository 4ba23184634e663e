#include "launch/text/tokenizer_parts.h"

#include <algorithm>

#include "launch/text/tokenizer_fields.h"
#include "launch/text/tokenizer_special_tokens.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

Bpe::Vocabulary read_vocabulary(const json& model, const std::string& where) {
  const json& node = field(model, "vocab", where);
  if (!node.is_object()) fail("{}: 'vocab' must be an object of tokens and ids", where);
  Bpe::Vocabulary vocabulary;
  vocabulary.reserve(node.size());
  for (const auto& [token, id] : node.items()) vocabulary.emplace(token, token_id_of(id, where));
  return vocabulary;
}

std::vector<std::pair<std::string, std::string>> read_merges(const json& model,
                                                             const std::string& where) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& node : array_field(model, "merges", where)) {
    const auto wrong = [&] {
      fail("{}: merge {} must be two tokens, as \"a b\" or [\"a\", \"b\"], not {}", where,
           merges.size(), excerpt(node));
    };
    if (node.is_string()) {
      const std::string both = node.get<std::string>();
      const size_t space = both.find(' ');
      if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) wrong();
      merges.emplace_back(both.substr(0, space), both.substr(space + 1));
    } else {
      if (!node.is_array() || node.size() != 2 || !node[0].is_string() || !node[1].is_string()) {
        wrong();
      }
      merges.emplace_back(node[0].get<std::string>(), node[1].get<std::string>());
    }
  }
  return merges;
}

Bpe read_model(const json& tokenizer, bool byte_level, const std::string& source) {
  const std::string where = source + ": model";
  const json& model = field(tokenizer, "model", source);
  const std::string type = optional_string(model, "type", where).value_or("BPE");
  if (type != "BPE") {
    fail("{}: type '{}' is not supported; supported is BPE, byte-level or with byte fallback",
         where, io::printable(type));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!optional_string(model, affix, where).value_or("").empty()) {
      fail("{}: '{}' is not supported unless empty", where, affix);
    }
  }
  const auto dropout = model.find("dropout");
  if (dropout != model.end() && !dropout->is_null() && *dropout != 0) {
    fail("{}: 'dropout' makes ids random; set it to null", where);
  }
  BpeOptions options;
  options.byte_level = byte_level;
  options.byte_fallback = bool_field(model, "byte_fallback", false, where);
  options.fuse_unk = bool_field(model, "fuse_unk", false, where);
  options.ignore_merges = bool_field(model, "ignore_merges", false, where);
  options.unk_token = optional_string(model, "unk_token", where);
  if (byte_level && options.byte_fallback) {
    fail("{}: 'byte_fallback' together with ByteLevel is not supported", where);
  }
  return Bpe(read_vocabulary(model, where), read_merges(model, where), options, where);
}

/// The tokens that a post-processor puts around a single text.
struct Around {
  std::vector<std::string> before, after;
};

/// Adds those of `node`. Error for a type that would do something else.
void add_around(const json& node, const std::string& where, Around& around) {
  if (node.is_null()) return;
  const std::string type = string_field(node, "type", where);
  if (type == "Sequence") {
    for (const json& part : array_field(node, "processors", where)) add_around(part, where, around);
    return;
  }
  if (type == "ByteLevel") return;  // it moves offsets only
  if (type != "TemplateProcessing") {
    fail("{}: type '{}' is not supported; supported: TemplateProcessing, ByteLevel, Sequence",
         where, io::printable(type));
  }
  bool text_came = false;
  for (const json& piece : array_field(node, "single", where)) {
    if (!piece.is_object() || !piece.contains("SpecialToken")) {
      text_came = true;
      continue;
    }
    (text_came ? around.after : around.before)
        .push_back(string_field(piece["SpecialToken"], "id", where));
  }
}

/// Takes what the post-processor adds to a text: one token before it, which is the bos_token, and
/// the eos_token after it, with which every text ends here. Error for anything else.
void take_around(TokenizerParts& parts, const Around& around, const AddedTokens& added,
                 const std::string& source) {
  const auto id_of = [&](const std::string& token) {
    const auto id = added.find(token);
    if (!id) fail("{}: post_processor names the unknown token '{}'", source, io::printable(token));
    return *id;
  };
  const auto check = [&](const std::vector<std::string>& tokens, const char* puts,
                         std::optional<int32_t>& named, const char* what) {
    if (tokens.empty()) return;
    const int32_t id = id_of(tokens.front());
    if (!named) named = id;
    if (tokens.size() == 1 && named == id) return;
    fail("{}: post_processor {} '{}', where only the {} is supported", source, puts,
         io::printable(fmt::format("{}", fmt::join(tokens, ""))), what);
  };
  check(around.before, "begins a text with", parts.bos, "bos_token");
  check(around.after, "ends a text with", parts.eos, "eos_token");
  parts.adds_bos = !around.before.empty();
}

std::string read_chat_template(const json& config, const std::string& source) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (!found->is_array()) return string_field(config, "chat_template", source);
  const std::string where = source + ": chat_template";
  for (const json& node : *found) {
    if (string_field(node, "name", where) == "default")
      return string_field(node, "template", where);
  }
  fail("{} lists several templates, but none named 'default'", where);
}

/// Fills tokens and special; refuses ids given twice and vocabularies that are mostly holes.
void index_tokens(TokenizerParts& parts, const std::vector<AddedToken>& added,
                  const std::string& source) {
  const auto& vocabulary = parts.bpe.vocabulary();
  int32_t largest = -1;
  for (const auto& [token, id] : vocabulary) largest = std::max(largest, id);
  for (const AddedToken& token : added) largest = std::max(largest, token.id);
  const size_t size = size_t(largest) + 1;
  if (size > 2 * (vocabulary.size() + added.size()) + 1024) {
    fail("{}: the largest token id is {}, but there are only {} tokens", source, largest,
         vocabulary.size() + added.size());
  }
  parts.tokens.resize(size);
  parts.special.resize(size);
  const auto set = [&](const std::string& token, int32_t id) {
    std::string& place = parts.tokens[size_t(id)];
    if (!place.empty() && place != token) {
      fail("{}: the tokens '{}' and '{}' both have the id {}", source, io::printable(place),
           io::printable(token), id);
    }
    place = token;
  };
  for (const auto& [token, id] : vocabulary) set(token, id);
  for (const AddedToken& token : added) {
    set(token.content, token.id);
    parts.special[size_t(token.id)] = token.special;
  }
}

/// The post-processor decides which tokens are put around a text, as in transformers 5; a flag of
/// the config that says otherwise is named.
void note_unused_flags(TokenizerParts& parts, const Around& around, const TokenizerJson& files) {
  const auto compare = [&](const char* key, const char* token, bool puts) {
    const bool says = bool_field(files.config, key, puts, files.config_source);
    if (says == puts) return;
    parts.notes.push_back(fmt::format(
        "{}: {} is {}, but the post_processor of {} adds {} {}; that file decides, as in "
        "transformers 5",
        files.config_source, key, says, files.tokenizer_source, puts ? "the" : "no", token));
  };
  compare("add_bos_token", "bos_token", parts.adds_bos);
  // Every text that is learned ends with the eos_token in any case: only a no can be unheard.
  if (!around.after.empty()) compare("add_eos_token", "eos_token", true);
}

/// For a tokenizer that names no end of text: that of the model's files, if it is a token.
void take_eos_of_model(TokenizerParts& parts, const TokenizerJson& files) {
  const auto id = files.model_eos;
  if (!id) return;
  if (size_t(*id) >= parts.tokens.size() || parts.tokens[size_t(*id)].empty()) {
    parts.notes.push_back(fmt::format("{}: the eos_token_id {} of {} is no token; not used",
                                      files.tokenizer_source, *id, files.model_eos_source));
    return;
  }
  parts.eos = id;
  parts.notes.push_back(fmt::format("{} names no eos_token; answers end with '{}', as {} has it",
                                    files.config_source, io::printable(parts.tokens[size_t(*id)]),
                                    files.model_eos_source));
}

/// transformers 5 makes a LlamaTokenizer of vocabulary and merges alone: no normalizer, and a
/// Metaspace that splits nothing. A file that says otherwise gives other ids there.
void note_rebuilt_class(TokenizerParts& parts, const TokenizerJson& files) {
  const json name = files.config.value("tokenizer_class", json(nullptr));
  if (name != json("LlamaTokenizer") && name != json("LlamaTokenizerFast")) return;
  const json pretokenizer = files.tokenizer.value("pre_tokenizer", json(nullptr));
  const bool same = files.tokenizer.value("normalizer", json(nullptr)).is_null() &&
                    pretokenizer.is_object() &&
                    pretokenizer.value("type", json(nullptr)) == json("Metaspace") &&
                    pretokenizer.value("split", json(true)) == json(false);
  if (same) return;
  parts.notes.push_back(fmt::format(
      "{}: transformers 5 builds class {} without the normalizer and pre_tokenizer of {}, and can "
      "give other ids beside spaces and special tokens; here that file decides",
      files.config_source, name.get<std::string>(), files.tokenizer_source));
}

}  // namespace

TokenizerParts make_tokenizer_parts(const TokenizerJson& files) {
  const json& tokenizer = files.tokenizer;
  const std::string& source = files.tokenizer_source;
  const auto member = [&](const char* key) {
    const auto found = tokenizer.find(key);
    return found == tokenizer.end() ? json(nullptr) : *found;
  };
  if (!tokenizer.is_object()) fail("{} must be a JSON object", source);
  if (!files.config.is_object()) fail("{} must be a JSON object", files.config_source);
  Pretokenizer pretokenizer(member("pre_tokenizer"), source);
  Bpe bpe = read_model(tokenizer, pretokenizer.byte_level(), source);

  std::vector<std::string> notes = files.notes;
  AddedTokens added(bpe);
  const NamedTokens named = added.read(files, notes);
  Around around;
  add_around(member("post_processor"), source + ": post_processor", around);

  Normalizer normalizer(member("normalizer"), source);
  std::vector<AddedToken> raw, normalized;
  for (AddedToken token : added.list()) {
    // Llama 2's files have </s> normalized, that is, only ever found as a word of its own; read so,
    // no text could end with it. transformers looks for it as it is, and so is done here.
    if (token.normalized && !(token.special && normalizer.prepends())) {
      AlignedText content;
      content.append(token.content, 0);
      token.content = normalizer.normalize(content.view()).text;
      normalized.push_back(std::move(token));
    } else {
      raw.push_back(std::move(token));
    }
  }
  TokenizerParts parts{.normalizer = std::move(normalizer),
                       .pretokenizer = std::move(pretokenizer),
                       .bpe = bpe,
                       .decoder = TokenDecoder(member("decoder"), source),
                       .raw_tokens = AddedTokenMatcher(raw, source),
                       .normalized_tokens = AddedTokenMatcher(normalized, source),
                       .tokens = {},
                       .special = {},
                       .added_ids = {},
                       .bos = named.bos,
                       .eos = named.eos,
                       .pad = named.pad,
                       .adds_bos = false,
                       .chat_template = read_chat_template(files.config, files.config_source),
                       .notes = std::move(notes)};
  index_tokens(parts, added.list(), source);
  take_around(parts, around, added, source);
  note_unused_flags(parts, around, files);
  if (!parts.eos) take_eos_of_model(parts, files);
  note_rebuilt_class(parts, files);
  parts.added_ids = added.take_ids();
  return parts;
}

}  // namespace tessera::launch
