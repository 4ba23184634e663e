#include <array>

#include "launch/text/tokenizer_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// What a name in tokenizer.ggml.pre means, by the published tokenizers of these models.
struct Family {
  const char* name;
  std::string_view regex;  // empty: ByteLevel's own
  bool digits;             // each digit is a word
  bool nfc;
  bool ignore_merges;
  bool adds_bos;  // unless the file says otherwise
};
constexpr std::array<Family, 6> kFamilies = {{
    {"gpt-2", "", false, false, false, false},
    {"smollm", "", true, false, false, false},
    {"llama-bpe", kLlama3Pattern, false, false, true, true},
    {"llama3", kLlama3Pattern, false, false, true, true},
    {"llama-v3", kLlama3Pattern, false, false, true, true},
    {"qwen2", kQwen2Pattern, false, true, false, false},
}};

const Family& family_of(const io::GgufFile& file) {
  const std::string key = "tokenizer.ggml.pre";
  if (!file.has(key)) {
    fail(
        "{}: '{}' is missing, so how to cut words is unknown; convert the model anew, or use its "
        "Hugging Face folder",
        file.path(), key);
  }
  const std::string name = file.string(key);
  for (const Family& family : kFamilies) {
    if (name == family.name) return family;
  }
  fail(
      "{}: {} '{}' is not supported; supported are gpt-2, smollm, llama-bpe and qwen2; use the "
      "model's Hugging Face folder",
      file.path(), key, io::printable(name));
}

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json pre_tokenizer_of(const Family& family) {
  json steps = json::array();
  if (family.digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!family.regex.empty()) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", family.regex}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level(/*use_regex=*/family.regex.empty()));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

/// Tokens of the types control and user-defined are looked for in texts.
json added_tokens_of(const io::GgufFile& file, const std::vector<std::string>& tokens,
                     const json& vocabulary) {
  constexpr int64_t kControl = 3;
  constexpr int64_t kUserDefined = 4;
  json added = json::array();
  const std::string key = "tokenizer.ggml.token_type";
  if (!file.has(key)) return added;
  const std::vector<int64_t> types = file.integers(key);
  if (types.size() != tokens.size()) {
    fail("{}: there are {} tokens, but {} values in {}", file.path(), tokens.size(), types.size(),
         key);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != kControl && types[id] != kUserDefined) continue;
    const auto known = vocabulary.find(tokens[id]);
    if (known == vocabulary.end() || *known != id) continue;  // left out
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == kControl}});
  }
  return added;
}

/// Tokens that no text can have are left out and named: one that is no UTF-8, and, as in llama.cpp,
/// the earlier of two that are equal.
json vocabulary_of(const io::GgufFile& file, const std::vector<std::string>& tokens,
                   std::vector<std::string>& notes) {
  json vocabulary = json::object();
  const auto note = [&](size_t id, const char* why) {
    notes.push_back(fmt::format("{}: token {} '{}' {}; it is left out", file.path(), id,
                                find_invalid_utf8(tokens[id]) ? "" : io::printable(tokens[id]),
                                why));
  };
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (find_invalid_utf8(tokens[id])) {
      note(id, "is not valid UTF-8");
      continue;
    }
    const auto [place, is_new] = vocabulary.emplace(tokens[id], id);
    if (is_new) continue;
    note(place->get<size_t>(), "has a later token of the same text");
    *place = id;
  }
  return vocabulary;
}

json template_of(const std::string& bos, int64_t id) {
  const json token = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto text = [](const char* name, int type) -> json {
    return {{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", json::array({token, text("A", 0)})},
          {"pair", json::array({token, text("A", 0), text("B", 1)})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", json::array({id})}, {"tokens", json::array({bos})}}}}}};
}

}  // namespace

TokenizerJson read_gguf_tokenizer(const std::string& path) {
  const io::GgufFile file(path);
  const std::string model = file.string("tokenizer.ggml.model");
  if (model != "gpt2") {
    fail(
        "{}: the tokenizer model '{}' is not supported in GGUF; supported is gpt2 (byte-level "
        "BPE); use the model's Hugging Face folder",
        path, io::printable(model));
  }
  const Family& family = family_of(file);
  const std::vector<std::string> tokens = file.strings("tokenizer.ggml.tokens");
  const auto token_of = [&](const char* key) -> json {
    if (!file.has(key)) return nullptr;
    const int64_t id = file.integer(key);
    if (id < 0 || id >= int64_t(tokens.size())) {
      fail("{}: {} is {}, but there are {} tokens", path, key, id, tokens.size());
    }
    return tokens[size_t(id)];
  };
  TokenizerJson out;
  out.tokenizer_source = out.config_source = path;
  out.config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                {"clean_up_tokenization_spaces", false},
                {"bos_token", token_of("tokenizer.ggml.bos_token_id")},
                {"eos_token", token_of("tokenizer.ggml.eos_token_id")},
                {"pad_token", token_of("tokenizer.ggml.padding_token_id")}};
  if (file.has("tokenizer.chat_template")) {
    const std::string text = file.string("tokenizer.chat_template");
    if (find_invalid_utf8(text)) fail("{}: tokenizer.chat_template is not valid UTF-8", path);
    out.config["chat_template"] = text;
  }
  const bool adds_bos = file.has("tokenizer.ggml.add_bos_token")
                            ? file.boolean("tokenizer.ggml.add_bos_token")
                            : family.adds_bos;
  const json& bos = out.config["bos_token"];
  if (adds_bos && bos.is_null()) {
    fail("{}: tokenizer.ggml.bos_token_id is missing, but texts are to begin with it", path);
  }
  const json vocabulary = vocabulary_of(file, tokens, out.notes);
  out.tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added_tokens_of(file, tokens, vocabulary)},
      {"normalizer", family.nfc ? json{{"type", "NFC"}} : json(nullptr)},
      {"pre_tokenizer", pre_tokenizer_of(family)},
      {"post_processor",
       adds_bos ? template_of(bos, file.integer("tokenizer.ggml.bos_token_id")) : json(nullptr)},
      {"decoder", byte_level(true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", family.ignore_merges},
        {"vocab", vocabulary},
        {"merges", file.strings("tokenizer.ggml.merges")}}}};
  const auto text = [](const json& value, int indent) {
    return value.dump(indent, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  };
  out.files = {{"tokenizer.json", text(out.tokenizer, -1)},
               {"tokenizer_config.json", text(out.config, 2)}};
  return out;
}

}  // namespace tessera::launch
