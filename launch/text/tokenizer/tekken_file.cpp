#include "launch/text/tokenizer/tekken_file.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "launch/text/tokenizer/base64.h"
#include "launch/text/tokenizer/byte_level_vocabulary.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// What files from before "special_tokens" have.
constexpr std::array<const char*, 20> kOlderSpecial = {"<unk>",
                                                       "<s>",
                                                       "</s>",
                                                       "[INST]",
                                                       "[/INST]",
                                                       "[AVAILABLE_TOOLS]",
                                                       "[/AVAILABLE_TOOLS]",
                                                       "[TOOL_RESULTS]",
                                                       "[/TOOL_RESULTS]",
                                                       "[TOOL_CALLS]",
                                                       "[IMG]",
                                                       "<pad>",
                                                       "[IMG_BREAK]",
                                                       "[IMG_END]",
                                                       "[PREFIX]",
                                                       "[MIDDLE]",
                                                       "[SUFFIX]",
                                                       "[SYSTEM_PROMPT]",
                                                       "[/SYSTEM_PROMPT]",
                                                       "[TOOL_CONTENT]"};

/// A number of tokens, at most the largest id; none where it is absent or null.
std::optional<size_t> count_of(const json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (!found->is_number_unsigned() || *found > kMaxTokenId) {
    fail("{}: '{}' must be a number from 0 to {}, not {}", where, key, kMaxTokenId,
         excerpt(*found));
  }
  return found->get<size_t>();
}

std::vector<std::string> listed_special(const json& tekken, const std::string& source) {
  if (tekken.value("special_tokens", json()).is_null()) {
    return {kOlderSpecial.begin(), kOlderSpecial.end()};
  }
  const std::string where = source + ": special_tokens";
  const json& list = array_field(tekken, "special_tokens", source);
  std::vector<std::string> tokens(list.size());
  for (const json& token : list) {
    const auto rank = size_t(token_id_of(field(token, "rank", where), where));
    const std::string text = string_field(token, "token_str", where);
    if (text.empty() || rank >= tokens.size() || !tokens[rank].empty()) {
      fail("{}: the ranks must be those from 0 to {}, each once, but '{}' has {}", where,
           tokens.size() - 1, io::printable(text), rank);
    }
    tokens[rank] = text;
  }
  return tokens;
}

/// The special tokens by id: those of the file, then as many without a meaning as are missing.
std::vector<std::string> special_of(const json& tekken, const json& config,
                                    const std::string& source) {
  std::vector<std::string> tokens = listed_special(tekken, source);
  const size_t count =
      count_of(config, "default_num_special_tokens", source + ": config").value_or(tokens.size());
  if (count < tokens.size()) {
    fail("{}: config: 'default_num_special_tokens' is {}, but there are {}", source, count,
         tokens.size());
  }
  while (tokens.size() < count) tokens.push_back(fmt::format("<SPECIAL_{}>", tokens.size()));
  std::unordered_set<std::string_view> known;
  for (const std::string& token : tokens) {
    if (known.insert(token).second) continue;
    fail("{}: the special token '{}' is given twice", source, io::printable(token));
  }
  return tokens;
}

/// The bytes of the first `count` tokens.
std::vector<std::string> ranked_of(const json& vocabulary, size_t count,
                                   const std::string& source) {
  std::vector<std::string> ranked;
  std::unordered_set<std::string> known;
  for (const json& token : vocabulary) {
    if (ranked.size() == count) break;
    const std::string where = fmt::format("{}: vocab[{}]", source, ranked.size());
    if (field(token, "rank", where) != ranked.size()) {
      fail("{}: 'rank' must be {}, not {}", where, ranked.size(), excerpt(token["rank"]));
    }
    const auto bytes = bytes_of_base64(string_field(token, "token_bytes", where));
    if (!bytes || bytes->empty() || bytes->size() > kLongestByteToken) {
      fail("{}: 'token_bytes' must be 1 to {} bytes in base64, not {}", where, kLongestByteToken,
           excerpt(token["token_bytes"]));
    }
    if (!known.insert(*bytes).second) fail("{}: the token is given twice", where);
    ranked.push_back(*bytes);
  }
  return ranked;
}

}  // namespace

void take_tekken(const json& tekken, TokenizerJson& out) {
  const std::string& source = out.tokenizer_source;
  const json& config = field(tekken, "config", source);
  const std::string pattern = string_field(config, "pattern", source + ": config");
  const std::vector<std::string> special = special_of(tekken, config, source);
  const json& vocabulary = array_field(tekken, "vocab", source);
  const size_t all = special.size() + vocabulary.size();
  const size_t size = count_of(config, "default_vocab_size", source + ": config").value_or(all);
  if (size <= special.size() || size > all) {
    fail("{}: config: 'default_vocab_size' is {}, but there are {} special tokens and {} others",
         source, size, special.size(), vocabulary.size());
  }
  const auto ranked = ranked_of(vocabulary, size - special.size(), source);
  json parts = byte_level_tokenizer(ranked, special.size(), pattern);
  json added = json::array();
  for (size_t id = 0; id < special.size(); ++id) {
    parts["model"]["vocab"][special[id]] = id;
    added.push_back(added_token(id, special[id], /*special=*/true));
  }
  parts["added_tokens"] = std::move(added);

  const auto id_of = [&](const std::string& token) -> std::optional<NamedId> {
    const auto found = std::ranges::find(special, token);
    if (found == special.end()) return std::nullopt;
    return NamedId(token, size_t(found - special.begin()));
  };
  for (const auto& [key, token] :
       {std::pair{"bos_token", "<s>"}, std::pair{"eos_token", "</s>"},
        std::pair{"pad_token", "<pad>"}, std::pair{"unk_token", "<unk>"}}) {
    if (!out.config.contains(key) && id_of(token)) out.config[key] = token;
  }
  const auto around = [&](const char* flag, const char* key) -> std::optional<NamedId> {
    if (!bool_field(out.config, flag, false, out.config_source)) return std::nullopt;
    const json value = out.config.value(key, json());
    const json content = value.is_object() ? value.value("content", json()) : value;
    return content.is_string() ? id_of(content) : std::nullopt;
  };
  parts["post_processor"] =
      text_template(around("add_bos_token", "bos_token"), around("add_eos_token", "eos_token"));
  out.tokenizer = whole_tokenizer(std::move(parts));
  out.config["tokenizer_class"] = kPlainTokenizerClass;
}

}  // namespace tessera::launch
