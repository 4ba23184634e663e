#include "launch/text/tokenizer/tiktoken_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <span>
#include <unordered_set>

#include "launch/text/tokenizer/base64.h"
#include "launch/text/tokenizer/byte_level_vocabulary.h"
#include "launch/text/tokenizer/pretokenizer_pattern.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

// tiktoken's patterns. Those of cl100k cut white space at the end of a text as a whole.
constexpr std::string_view kR50kPattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr std::string_view kCl100kPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+)"
    R"(|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";

struct SpecialToken {
  std::string text;
  size_t id;
};

/// A published file, known by how many tokens and bytes it has.
struct Published {
  const char* name;
  size_t tokens;
  size_t bytes;
  std::string_view pattern;
  bool nfc;
  std::vector<SpecialToken> special;
  const char* bos;  // empty for none
  const char* eos;
  bool adds_bos;
};

std::vector<SpecialToken> special_of_qwen() {
  std::vector<SpecialToken> tokens = {
      {"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}};
  for (size_t i = 0; i < 205; ++i) {
    tokens.push_back({fmt::format("<|extra_{}|>", i), 151646 + i});
  }
  return tokens;
}

const std::vector<Published>& published() {
  constexpr const char* kEnd = "<|endoftext|>";
  const std::vector<SpecialToken> of_50k = {{kEnd, 50256}};
  const std::vector<SpecialToken> of_100k = {{kEnd, 100257},
                                             {"<|fim_prefix|>", 100258},
                                             {"<|fim_middle|>", 100259},
                                             {"<|fim_suffix|>", 100260},
                                             {"<|endofprompt|>", 100276}};
  const std::vector<SpecialToken> of_200k = {{kEnd, 199999}, {"<|endofprompt|>", 200018}};
  // Llama 3 and 3.1 call the other reserved tokens differently.
  constexpr const char* kLlamaBegin = "<|begin_of_text|>";
  constexpr const char* kLlamaEnd = "<|end_of_text|>";
  const std::vector<SpecialToken> of_llama = {{kLlamaBegin, 128000},
                                              {kLlamaEnd, 128001},
                                              {"<|start_header_id|>", 128006},
                                              {"<|end_header_id|>", 128007},
                                              {"<|eot_id|>", 128009}};
  static const std::vector<Published> files = {
      {"r50k", 50256, 835554, kR50kPattern, false, of_50k, "", kEnd, false},
      {"p50k", 50280, 836186, kR50kPattern, false, of_50k, "", kEnd, false},
      {"cl100k", 100256, 1681126, kCl100kPattern, false, of_100k, "", kEnd, false},
      {"o200k", 199998, 3613922, kO200kPattern, false, of_200k, "", kEnd, false},
      {"Qwen", 151643, 2561218, kQwen2Pattern, true, special_of_qwen(), "", kEnd, false},
      {"Llama 3", 128000, 2183982, kLlama3Pattern, false, of_llama, kLlamaBegin, kLlamaEnd, true},
  };
  return files;
}

/// Classes that transformers 5 makes of a file in this format, all with the pattern of Llama 3.
constexpr std::array<std::string_view, 3> kClasses = {kPlainTokenizerClass, "PreTrainedTokenizer",
                                                      "ChatGLM4Tokenizer"};

/// The special tokens of the file, with the names that the config has for their ids, and those that
/// only the config has, after the ranks. They go into the vocabulary too: other programs number
/// them anew otherwise.
void add_special_tokens(std::span<const SpecialToken> special, size_t ranks,
                        const TokenizerJson& out, json& parts) {
  std::map<size_t, std::string> names;
  for (const SpecialToken& token : special) names[token.id] = token.text;
  const std::string where = out.config_source + ": added_tokens_decoder";
  const json decoder = out.config.value("added_tokens_decoder", json::object());
  if (!decoder.is_object()) fail("{} must be an object", where);
  for (const auto& [key, token] : decoder.items()) {
    size_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id > size_t(kMaxTokenId)) {
      fail("{}: a token id must be from 0 to {}, not '{}'", where, kMaxTokenId, io::printable(key));
    }
    if (id >= ranks) names[id] = string_field(token, "content", where);
  }
  parts["added_tokens"] = json::array();
  for (const auto& [id, text] : names) {
    const auto [place, is_new] = parts["model"]["vocab"].emplace(text, id);
    if (!is_new) {
      fail("{}: the special token '{}' has the id {}, but also {}", out.tokenizer_source,
           io::printable(text), id, place->get<size_t>());
    }
    parts["added_tokens"].push_back(added_token(id, text, /*special=*/true));
  }
}

/// The special token that the config calls `key`.
std::optional<NamedId> named_token(const json& parts, const json& config, const char* key) {
  const json value = config.value(key, json());
  const json content = value.is_object() ? value.value("content", json()) : value;
  for (const json& token : parts["added_tokens"]) {
    if (token["content"] == content) return NamedId(content, token["id"].get<size_t>());
  }
  return std::nullopt;
}

/// One line: a token's bytes and its rank.
std::pair<std::string, size_t> parse_line(std::string_view line, const std::string& where) {
  const size_t space = line.find(' ');
  const std::string_view digits = space == line.npos ? "" : line.substr(space + 1);
  const auto bytes = bytes_of_base64(line.substr(0, std::min(space, line.size())));
  size_t rank = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  if (!bytes || bytes->empty() || digits.empty() || error != std::errc() ||
      end != digits.data() + digits.size()) {
    fail("{}: '{}' is no token in base64 and its rank", where,
         find_invalid_utf8(line) ? "" : io::printable(line));
  }
  if (bytes->size() > kLongestByteToken) {
    fail("{}: the token has {} bytes; the most are {}", where, bytes->size(), kLongestByteToken);
  }
  if (rank > size_t(kMaxTokenId)) fail("{}: the largest rank is {}", where, kMaxTokenId);
  return {*bytes, rank};
}

}  // namespace

std::vector<std::string> parse_tiktoken(std::string_view content, const std::string& source) {
  std::vector<std::string> ranked;
  std::unordered_set<std::string> known;
  size_t number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = fmt::format("{}: line {}", source, number);
    auto [bytes, rank] = parse_line(line, where);
    // A file of few tokens cannot make a large table.
    if (rank > 2 * number + 1024) fail("{}: the rank {} leaves too many out", where, rank);
    if (rank >= ranked.size()) ranked.resize(rank + 1);
    if (!ranked[rank].empty()) fail("{}: the rank {} is given twice", where, rank);
    if (!known.insert(bytes).second) fail("{}: the token is given twice", where);
    ranked[rank] = std::move(bytes);
  }
  if (ranked.empty()) fail("{}: there are no tokens", source);
  return ranked;
}

void take_tiktoken(std::string_view content, const std::string& class_name, TokenizerJson& out) {
  const std::string& source = out.tokenizer_source;
  const std::vector<std::string> ranked = parse_tiktoken(content, source);
  const size_t tokens =
      size_t(std::ranges::count_if(ranked, [](const std::string& t) { return !t.empty(); }));
  const auto file = std::ranges::find_if(published(), [&](const Published& known) {
    return known.tokens == tokens && known.bytes == content.size();
  });
  const bool is_known = file != published().end();
  const bool has_tokens = out.config.value("added_tokens_decoder", json()).is_object();
  const bool read_by_transformers = out.config.contains("tokenizer_class") && has_tokens &&
                                    std::ranges::find(kClasses, class_name) != kClasses.end();
  if (!is_known && !read_by_transformers) {
    fail(
        "{}: a tiktoken file of {} tokens whose pattern and special tokens are not known; load and "
        "save the tokenizer with transformers, which writes a tokenizer.json",
        source, tokens);
  }
  json parts = byte_level_tokenizer(ranked, 0, is_known ? file->pattern : kLlama3Pattern);
  if (is_known) {
    if (file->nfc) parts["normalizer"] = {{"type", "NFC"}};
    if (*file->bos && !out.config.contains("bos_token")) out.config["bos_token"] = file->bos;
    if (!out.config.contains("eos_token")) out.config["eos_token"] = file->eos;
    const bool adds_bos = file->adds_bos && !out.config.contains("add_bos_token");
    out.notes.push_back(fmt::format("{}: read as the tiktoken file of {}{}", source, file->name,
                                    adds_bos ? ", whose texts begin with the bos_token" : ""));
  }
  const auto special = is_known ? std::span(file->special) : std::span<const SpecialToken>();
  add_special_tokens(special, ranked.size(), out, parts);
  const auto around = [&](const char* flag, bool otherwise, const char* key) {
    return bool_field(out.config, flag, otherwise, out.config_source)
               ? named_token(parts, out.config, key)
               : std::nullopt;
  };
  parts["post_processor"] =
      text_template(around("add_bos_token", is_known && file->adds_bos, "bos_token"),
                    around("add_eos_token", false, "eos_token"));
  out.tokenizer = whole_tokenizer(std::move(parts));
  out.config["tokenizer_class"] = kPlainTokenizerClass;
}

}  // namespace tessera::launch
