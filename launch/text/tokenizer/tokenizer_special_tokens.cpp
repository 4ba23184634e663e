#include "launch/text/tokenizer/tokenizer_special_tokens.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

AddedToken read_added_token(const json& node, int32_t id, const std::string& where) {
  AddedToken token;
  token.id = id;
  token.content = string_field(node, "content", where);
  token.special = bool_field(node, "special", false, where);
  token.single_word = bool_field(node, "single_word", false, where);
  token.lstrip = bool_field(node, "lstrip", false, where);
  token.rstrip = bool_field(node, "rstrip", false, where);
  token.normalized = bool_field(node, "normalized", !token.special, where);
  return token;
}

/// "bos_token" and its like are a string or an added token.
std::string content_of(const json& value, const std::string& key, const std::string& source) {
  if (value.is_object()) return string_field(value, "content", source + ": " + key);
  if (!value.is_string()) fail("{}: '{}' must be a string, not {}", source, key, excerpt(value));
  return value.get<std::string>();
}

bool names_token(const std::string& key, const json& value) {
  if (value.is_null()) return false;
  if (std::ranges::find(kTokenNames, key) != kTokenNames.end()) return true;
  return key.ends_with("_token") &&
         (value.is_string() || (value.is_object() && value.contains("content")));
}

/// The keys of further special tokens that are used.
std::vector<std::string> used_extra(const json& config) {
  const auto has = [&](const char* key) { return !config.value(key, json()).empty(); };
  std::vector<std::string> keys;
  if (has(kExtraTokens)) keys.push_back(kExtraTokens);
  if (has(kOlderExtraTokens) && (keys.empty() || config[kExtraTokens].is_object())) {
    keys.push_back(kOlderExtraTokens);
  }
  return keys;
}

/// What a config names to be special.
std::set<std::string> special_contents(const TokenizerJson& files) {
  std::set<std::string> contents;
  for (const auto& [key, value] : files.config.items()) {
    if (names_token(key, value)) contents.insert(content_of(value, key, files.source_of(key)));
  }
  for (const std::string& key : used_extra(files.config)) {
    for (const json& token : files.config[key]) {
      contents.insert(content_of(token, key, files.source_of(key)));
    }
  }
  return contents;
}

void note_unknown(const std::string& source, const std::vector<std::string>& unknown,
                  std::vector<std::string>& notes) {
  if (unknown.empty()) return;
  notes.push_back(fmt::format("{}: not in the vocabulary, so that they stay letters: {}", source,
                              fmt::join(unknown, ", ")));
}

}  // namespace

NamedTokens AddedTokens::read(const TokenizerJson& files, std::vector<std::string>& notes) {
  if (bool_field(files.config, "split_special_tokens", false, files.config_source)) {
    fail("{}: 'split_special_tokens' is not supported; set it to false", files.config_source);
  }
  read_list(files);
  read_decoder(files);
  read_added_tokens_file(files, notes);
  const NamedTokens named = read_named(files, notes);
  const std::vector<std::string> keys = used_extra(files.config);
  for (const std::string& key : keys) read_extra(files, key, notes);
  const json older = files.config.value(kOlderExtraTokens, json());
  if (!older.empty() && keys.back() == kExtraTokens && older != files.config[kExtraTokens]) {
    notes.push_back(fmt::format("{}: {} is not used beside {}, as in transformers 5",
                                files.source_of(kOlderExtraTokens), kOlderExtraTokens,
                                kExtraTokens));
  }
  return named;
}

std::optional<int32_t> AddedTokens::find(const std::string& token) const {
  const auto found = ids_.find(token);
  return found != ids_.end() ? std::optional(found->second) : model_.find(token);
}

AddedToken* AddedTokens::listed(const std::string& content) {
  const auto found = std::ranges::find(list_, content, &AddedToken::content);
  return found == list_.end() ? nullptr : &*found;
}

/// Of two with one content the first holds, as in the reference.
void AddedTokens::add(AddedToken token, const std::string& where) {
  require_one_id(token, where);
  if (ids_.emplace(token.content, token.id).second) list_.push_back(std::move(token));
}

void AddedTokens::require_one_id(const AddedToken& token, const std::string& where) const {
  const auto known = find(token.content);
  if (!known || *known == token.id) return;
  fail("{}: the added token '{}' has the id {}, but elsewhere {}", where,
       io::printable(token.content), token.id, *known);
}

void AddedTokens::read_list(const TokenizerJson& files) {
  const auto found = files.tokenizer.find("added_tokens");
  if (found == files.tokenizer.end() || found->is_null()) return;
  const std::string where = files.tokenizer_source + ": added_tokens";
  for (const json& node : array_field(files.tokenizer, "added_tokens", files.tokenizer_source)) {
    add(read_added_token(node, token_id_of(field(node, "id", where), where), where), where);
  }
}

/// transformers adds these to the tokens of tokenizer.json; where both have one, these hold.
void AddedTokens::read_decoder(const TokenizerJson& files) {
  const auto found = files.config.find("added_tokens_decoder");
  if (found == files.config.end() || found->is_null()) return;
  const std::string where = files.config_source + ": added_tokens_decoder";
  if (!found->is_object()) fail("{} must be an object", where);
  std::map<int32_t, const json*> by_id;
  for (const auto& [key, node] : found->items()) {
    const bool number =
        !key.empty() && key.size() <= 8 &&
        std::all_of(key.begin(), key.end(), [](char c) { return '0' <= c && c <= '9'; });
    by_id[token_id_of(number ? json(uint64_t(std::stoul(key))) : json(key), where)] = &node;
  }
  for (const auto& [id, node] : by_id) {
    AddedToken token = read_added_token(*node, id, where);
    require_one_id(token, where);
    if (AddedToken* known = listed(token.content)) {
      *known = std::move(token);
    } else {
      add(std::move(token), where);
    }
  }
}

/// Tokens and ids, from before tokenizer_config.json had them; those of tokenizer.json hold.
void AddedTokens::read_added_tokens_file(const TokenizerJson& files,
                                         std::vector<std::string>& notes) {
  if (files.added_tokens.is_null()) return;
  const std::string& where = files.added_tokens_source;
  if (!files.added_tokens.is_object()) fail("{} must be an object of tokens and ids", where);
  const std::set<std::string> special = special_contents(files);
  std::vector<std::string> other;
  for (const auto& [content, id] : files.added_tokens.items()) {
    if (const AddedToken* known = listed(content)) {
      if (id != json(known->id)) {
        other.push_back(
            fmt::format("'{}' {}, not {}", io::printable(content), known->id, excerpt(id)));
      }
      continue;
    }
    AddedToken token;
    token.content = content;
    token.id = token_id_of(id, where);
    token.special = special.contains(content);
    token.normalized = !token.special;
    add(std::move(token), where);
  }
  if (other.empty()) return;
  notes.push_back(fmt::format("{}: the ids of tokenizer.json hold, as in transformers: {}", where,
                              fmt::join(other, ", ")));
}

/// The id of a token that is named to be special; none where the vocabulary lacks it. One that is
/// no added token becomes one. `marks`: one that is becomes special, its other flags hold.
std::optional<int32_t> AddedTokens::take_special(const json& value, const std::string& content,
                                                 const std::string& where, bool marks) {
  const auto id = find(content);
  if (!id) return std::nullopt;
  if (AddedToken* known = listed(content)) {
    known->special |= marks;
    return id;
  }
  AddedToken token;
  if (value.is_object()) token = read_added_token(value, *id, where);
  token.content = content;
  token.id = *id;
  token.special = true;
  token.normalized = value.is_object() && bool_field(value, "normalized", false, where);
  add(std::move(token), where);
  return id;
}

NamedTokens AddedTokens::read_named(const TokenizerJson& files, std::vector<std::string>& notes) {
  NamedTokens named;
  std::map<std::string_view, std::optional<int32_t>*> kept = {
      {"bos_token", &named.bos}, {"eos_token", &named.eos}, {"pad_token", &named.pad}};
  std::map<std::string, std::vector<std::string>> unknown;  // by the file that names them
  for (const auto& [key, value] : files.config.items()) {
    if (!names_token(key, value)) continue;
    const std::string& source = files.source_of(key);
    const std::string content = content_of(value, key, source);
    named.texts[key] = content;
    const auto id = take_special(value, content, source + ": " + key, /*marks=*/true);
    const auto place = kept.find(key);
    if (place != kept.end()) *place->second = id;
    if (id) continue;
    if (key == "bos_token" || key == "eos_token") {
      fail("{}: the {} '{}' is not in the vocabulary", source, key, io::printable(content));
    }
    if (key == "pad_token") {  // nothing is ever padded here
      notes.push_back(fmt::format("{}: the pad_token '{}' is not in the vocabulary; none is needed",
                                  source, io::printable(content)));
    } else {
      unknown[source].push_back(io::printable(key));
    }
  }
  for (const auto& [source, keys] : unknown) note_unknown(source, keys, notes);
  return named;
}

/// A list keeps the flags of added tokens; under names of their own they become special.
void AddedTokens::read_extra(const TokenizerJson& files, const std::string& key,
                             std::vector<std::string>& notes) {
  const json& extra = files.config[key];
  const std::string& source = files.source_of(key);
  const std::string where = source + ": " + key;
  if (!extra.is_structured()) fail("{} must be a list of tokens, not {}", where, excerpt(extra));
  std::vector<std::string> unknown;
  for (const json& token : extra) {
    const std::string content = content_of(token, key, source);
    if (take_special(token, content, where, /*marks=*/extra.is_object())) continue;
    unknown.push_back(fmt::format("'{}'", io::printable(content)));
  }
  note_unknown(where, unknown, notes);
}

}  // namespace tessera::launch
