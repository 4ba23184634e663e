#include "launch/text/tokenizer/tokenizer_parts.h"

#include <algorithm>
#include <set>

#include "launch/text/tokenizer/tokenizer_chat_templates.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_post_processor.h"
#include "launch/text/tokenizer/tokenizer_special_tokens.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// Takes what is put around a text. A bos_token or eos_token that no file names is the token that
/// stands there alone.
void take_around(TokenizerParts& parts, TokensAround around, const std::string& source) {
  for (const auto* ids : {&around.before, &around.after}) {
    for (const int32_t id : *ids) {
      if (size_t(id) < parts.tokens.size() && !parts.tokens[size_t(id)].empty()) continue;
      fail("{}: post_processor puts the id {} around a text, which no token has", source, id);
    }
  }
  if (!parts.bos && around.before.size() == 1) parts.bos = around.before[0];
  if (!parts.eos && around.after.size() == 1) parts.eos = around.after[0];
  parts.prefix = std::move(around.before);
  parts.suffix = std::move(around.after);
}

/// Fills tokens and special; refuses ids given twice and vocabularies that are mostly holes.
void index_tokens(TokenizerParts& parts, const std::vector<AddedToken>& added,
                  const std::string& source) {
  const auto vocabulary = parts.model.tokens();
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
  const auto set = [&](std::string_view token, int32_t id) {
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

/// The reference leaves out the tokens whose spelling is that of a special token.
void find_left_out(TokenizerParts& parts, const std::vector<AddedToken>& added) {
  parts.left_out = parts.special;
  std::set<std::string_view> special;
  for (const AddedToken& token : added) {
    if (token.special) special.insert(token.content);
  }
  for (const auto& [id, spelling] : parts.normalized_spellings) {
    parts.left_out[size_t(id)] = special.contains(spelling);
  }
}

/// The post-processor decides which tokens are put around a text, as in transformers 5; a flag of
/// the config that says otherwise is named.
void note_unused_flags(TokenizerParts& parts, const TokenizerJson& files) {
  const auto compare = [&](const char* key, const char* token, bool puts) {
    const bool says = bool_field(files.config, key, puts, files.config_source);
    if (says == puts) return;
    parts.notes.push_back(fmt::format(
        "{}: {} is {}, but the post_processor of {} adds {} {}; that file decides, as in "
        "transformers 5",
        files.config_source, key, says, files.tokenizer_source, puts ? "the" : "no", token));
  };
  compare("add_bos_token", "bos_token", parts.adds_bos());
  // Every text that is learned ends with the eos_token in any case: only a no can be unheard.
  if (!parts.suffix.empty()) compare("add_eos_token", "eos_token", true);
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

struct SearchedTokens {
  std::vector<AddedToken> raw, normalized;             // before and after normalization
  std::unordered_map<int32_t, std::string> spellings;  // that normalization changes, by id
};

SearchedTokens sort_by_search(const std::vector<AddedToken>& added, const Normalizer& normalizer) {
  SearchedTokens searched;
  for (AddedToken token : added) {
    // Llama 2's files have </s> normalized, that is, only ever found as a word of its own; read so,
    // no text could end with it. transformers looks for it as it is, and so is done here.
    if (!token.normalized || (token.special && normalizer.prepends())) {
      searched.raw.push_back(std::move(token));
      continue;
    }
    AlignedText content;
    content.append(token.content, 0);
    std::string changed = normalizer.normalize(content.view()).text;
    if (changed != token.content) searched.spellings[token.id] = changed;
    token.content = std::move(changed);
    searched.normalized.push_back(std::move(token));
  }
  return searched;
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
  const TokenModel model = TokenModel::read(tokenizer, pretokenizer, source);

  std::vector<std::string> notes = files.notes;
  AddedTokens added(model);
  const NamedTokens named = added.read(files, notes);

  Normalizer normalizer(member("normalizer"), source);
  SearchedTokens searched = sort_by_search(added.list(), normalizer);
  TokenizerParts parts{.normalizer = std::move(normalizer),
                       .pretokenizer = std::move(pretokenizer),
                       .model = model,
                       .decoder = TokenDecoder(member("decoder"), source),
                       .raw_tokens = AddedTokenMatcher(searched.raw, source),
                       .normalized_tokens = AddedTokenMatcher(searched.normalized, source),
                       .tokens = {},
                       .special = {},
                       .left_out = {},
                       .added_ids = {},
                       .normalized_spellings = std::move(searched.spellings),
                       .bos = named.bos,
                       .eos = named.eos,
                       .pad = named.pad,
                       .prefix = {},
                       .suffix = {},
                       .chat_templates = read_chat_templates(files.config, files.config_source),
                       .named_tokens = named.texts,
                       .notes = std::move(notes)};
  index_tokens(parts, added.list(), source);
  find_left_out(parts, added.list());
  const auto find = [&](const std::string& token) { return added.find(token); };
  take_around(parts,
              read_tokens_around(member("post_processor"), source + ": post_processor", find),
              source);
  note_unused_flags(parts, files);
  if (!parts.eos) take_eos_of_model(parts, files);
  note_rebuilt_class(parts, files);
  parts.added_ids = added.take_ids();
  return parts;
}

}  // namespace tessera::launch
