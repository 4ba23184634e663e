#include "launch/text/tokenizer/tokenizer_json_parts.h"

#include <algorithm>

#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

json sequence(const char* steps_key, json steps) {
  if (steps.empty()) return nullptr;
  return {{"type", "Sequence"}, {steps_key, std::move(steps)}};
}

json pattern_of(const char* kind, std::string_view pattern) { return {{kind, pattern}}; }

json special_piece(const NamedId& token, unsigned type) {
  return {{"SpecialToken", {{"id", token.first}, {"type_id", type}}}};
}

json text_piece(const char* name, unsigned type) {
  return {{"Sequence", {{"id", name}, {"type_id", type}}}};
}

/// `indent` as in json::dump().
void put_file(TokenizerJson& out, const char* name, const json& value, int indent) {
  std::erase_if(out.files, [&](const auto& file) { return file.first == name; });
  std::string text = io::json_text(value, indent);
  text.shrink_to_fit();  // it stays as long as the tokenizer
  out.files.emplace_back(name, std::move(text));
}

}  // namespace

json added_token(size_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

json split_step(const char* kind, std::string_view pattern, const char* behavior) {
  return {{"type", "Split"},
          {"pattern", pattern_of(kind, pattern)},
          {"behavior", behavior},
          {"invert", false}};
}

json replace_step(const char* kind, std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", pattern_of(kind, pattern)}, {"content", content}};
}

json byte_level_step(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json normalizer_sequence(json steps) { return sequence("normalizers", std::move(steps)); }
json pretokenizer_sequence(json steps) { return sequence("pretokenizers", std::move(steps)); }
json decoder_sequence(json steps) { return sequence("decoders", std::move(steps)); }

json bpe_model(json vocabulary, json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

json text_template(const std::optional<NamedId>& before, const std::optional<NamedId>& after) {
  if (!before && !after) return nullptr;
  json single = json::array();
  json pair = json::array();
  json tokens = json::object();
  const auto add = [&](const std::optional<NamedId>& token, bool to_single, unsigned type) {
    if (!token) return;
    (to_single ? single : pair).push_back(special_piece(*token, type));
    tokens[token->first] = {{"id", token->first},
                            {"ids", json::array({token->second})},
                            {"tokens", json::array({token->first})}};
  };
  add(before, true, 0);
  single.push_back(text_piece("A", 0));
  add(after, true, 0);
  pair = single;
  add(before, false, 1);
  pair.push_back(text_piece("B", 1));
  add(after, false, 1);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

json whole_tokenizer(json parts) {
  json tokenizer = {{"version", "1.0"},          {"truncation", nullptr},
                    {"padding", nullptr},        {"added_tokens", json::array()},
                    {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
                    {"post_processor", nullptr}, {"decoder", nullptr}};
  tokenizer.update(parts);
  return tokenizer;
}

void put_tokenizer_file(TokenizerJson& out) { put_file(out, "tokenizer.json", out.tokenizer, -1); }
void put_config_file(TokenizerJson& out) { put_file(out, "tokenizer_config.json", out.config, 2); }

}  // namespace tessera::launch
