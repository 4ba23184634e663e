#include "launch/text/tokenizer/sentencepiece_classes.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "launch/text/tokenizer/sentencepiece_tokenizer.h"
#include "launch/text/tokenizer/tokenizer_class.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/vocabulary_merges.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// Classes that order or spell the pieces anew, each in its own way.
constexpr std::array<std::string_view, 24> kOtherClasses = {
    "AlbertTokenizer",    "BarthezTokenizer",     "BertGenerationTokenizer", "BigBirdTokenizer",
    "CamembertTokenizer", "CpmTokenizer",         "DebertaV2Tokenizer",      "FNetTokenizer",
    "GPTSw3Tokenizer",    "M2M100Tokenizer",      "MBart50Tokenizer",        "MBartTokenizer",
    "MarianTokenizer",    "NllbTokenizer",        "PegasusTokenizer",        "ReformerTokenizer",
    "RemBertTokenizer",   "SeamlessM4TTokenizer", "SiglipTokenizer",         "SpeechT5Tokenizer",
    "UdopTokenizer",      "XGLMTokenizer",        "XLMRobertaTokenizer",     "XLNetTokenizer"};
constexpr const char* kConvert =
    "load and save the tokenizer with transformers, which writes a tokenizer.json";

/// Of all pieces, in the order of their ids.
json merges_by_id(const SentencePieceModel& model) {
  std::vector<RankedToken> tokens;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    tokens.push_back({model.pieces[id].text, int64_t(id), double(id)});
  }
  return merges_of_vocabulary(tokens, MergeTies::kShorterLeft);
}

/// A class of transformers that does not follow the settings of the model.
struct Habits {
  std::string_view class_name;
  SentencePieceKind kind;
  std::map<std::string, std::string> names;  // what it calls tokens that the config does not name
  bool adds_bos;                             // unless the config says otherwise
  const char* others;                        // texts for which SentencePiece gives other ids
};

const Habits* habits_of(const std::string& class_name) {
  using Kind = SentencePieceKind;
  constexpr const char* kFirstSpace = "that begin with a space or have added tokens";
  static const std::vector<Habits> all = {
      {"LlamaTokenizer",
       Kind::kBpe,
       {{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}},
       false,
       kFirstSpace},
      {"CodeLlamaTokenizer",
       Kind::kBpe,
       {{"unk_token", "<unk>"},
        {"bos_token", "<s>"},
        {"eos_token", "</s>"},
        {"prefix_token", "\u2581<PRE>"},
        {"middle_token", "\u2581<MID>"},
        {"suffix_token", "\u2581<SUF>"},
        {"eot_token", "\u2581<EOT>"}},
       true,
       kFirstSpace},
      {"GemmaTokenizer",
       Kind::kBpe,
       {{"unk_token", "<unk>"},
        {"bos_token", "<bos>"},
        {"eos_token", "<eos>"},
        {"pad_token", "<pad>"},
        {"mask_token", "<mask>"}},
       false,
       "with several spaces in a row"},
      {"T5Tokenizer",
       Kind::kUnigram,
       {{"unk_token", "<unk>"}, {"eos_token", "</s>"}, {"pad_token", "<pad>"}},
       false,
       "with white space other than spaces, or with combining marks"},
  };
  const auto found = std::ranges::find(all, class_name, &Habits::class_name);
  return found == all.end() ? nullptr : &*found;
}

/// Of LlamaTokenizer and CodeLlamaTokenizer: no normalizer, a prefix by Metaspace.
json llama_tokenizer(const SentencePieceModel& model, bool code, const TokenizerJson& out) {
  const std::string& source = out.config_source;
  const bool legacy = !code && bool_field(out.config, "legacy", false, source);
  const bool prefix = bool_field(out.config, "add_prefix_space", true, source);
  json bpe = bpe_model(piece_ids(model), merges_by_id(model));
  bpe["fuse_unk"] = true;
  bpe["byte_fallback"] = true;
  if (code) bpe["unk_token"] = out.config["unk_token"];
  return {{"model", std::move(bpe)},
          {"pre_tokenizer", metaspace_step(!prefix  ? "never"
                                           : legacy ? "always"
                                                    : "first",
                                           false)},
          {"decoder", piece_decoder(true, prefix || code)}};
}

json gemma_tokenizer(const SentencePieceModel& model, const TokenizerJson& out) {
  json bpe = bpe_model(piece_ids(model), merges_by_id(model));
  bpe["unk_token"] = out.config["unk_token"];
  bpe["fuse_unk"] = true;
  bpe["byte_fallback"] = true;
  return {{"model", std::move(bpe)},
          {"normalizer", replace_step("String", " ", kPieceSpace)},
          {"pre_tokenizer", split_step("String", " ", "MergedWithPrevious")},
          {"decoder", piece_decoder(true, false)}};
}

/// T5's vocabulary ends with tokens that the model does not list, the last of them first.
json t5_tokenizer(SentencePieceModel& model, const TokenizerJson& out) {
  constexpr size_t kUnknown = 2;
  constexpr int64_t kMostExtra = 10'000;
  const json count = out.config.value("extra_ids", json(100));
  if (!count.is_number_integer() || count < 0 || count > kMostExtra) {
    fail("{}: 'extra_ids' must be a number from 0 to {}, not {}", out.config_source, kMostExtra,
         excerpt(count));
  }
  for (int64_t i = count.get<int64_t>(); i-- > 0;) {
    model.pieces.push_back({fmt::format("<extra_id_{}>", i), 0, PieceType::kControl});
  }
  json parts = {
      {"model", unigram_model(model, kUnknown, false)},
      {"pre_tokenizer", pretokenizer_sequence(json::array(
                            {json{{"type", "WhitespaceSplit"}}, metaspace_step("always", true)}))},
      {"decoder", metaspace_step("always", true)}};
  if (!model.charsmap.empty()) parts["normalizer"] = charsmap_step(model);
  return parts;
}

json tokenizer_by_habits(SentencePieceModel& model, const Habits& habits, TokenizerJson& out) {
  const std::string name(habits.class_name);
  if (model.kind != habits.kind) {
    fail("{}: a {} model is not supported as {}; set 'tokenizer_class' in {} to TokenizersBackend",
         out.tokenizer_source, model.kind == SentencePieceKind::kBpe ? "BPE" : "Unigram", name,
         out.config_source);
  }
  if (name == "T5Tokenizer") return t5_tokenizer(model, out);
  if (name == "GemmaTokenizer") return gemma_tokenizer(model, out);
  return llama_tokenizer(model, name == "CodeLlamaTokenizer", out);
}

/// Placeholders of the model get the names that the config has for their ids. A name that another
/// piece keeps is not given twice.
void rename_pieces(SentencePieceModel& model, const json& config) {
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end() || !decoder->is_object()) return;
  std::map<size_t, std::string> names;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto found = decoder->find(std::to_string(id));
    if (found == decoder->end() || !found->is_object()) continue;
    const auto content = found->find("content");
    if (content == found->end() || !content->is_string()) continue;
    if (!content->get_ref<const std::string&>().empty()) names[id] = *content;
  }
  std::set<std::string_view> kept;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (!names.contains(id)) kept.insert(model.pieces[id].text);
  }
  std::erase_if(names, [&](const auto& name) { return kept.contains(name.second); });
  for (const auto& [id, name] : names) model.pieces[id].text = name;
}

/// Added tokens are looked for in the text as it is, so that each text between them gets a prefix.
void look_for_added_tokens_as_they_are(json& config) {
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end() || !decoder->is_object()) return;
  for (json& token : *decoder) {
    if (token.is_object()) token["normalized"] = false;
  }
}

json tokenizer_without_habits(SentencePieceModel& model, TokenizerJson& out) {
  rename_pieces(model, out.config);
  if (model.add_dummy_prefix) look_for_added_tokens_as_they_are(out.config);
  const auto name = [&](const char* key, int32_t id, const std::string& piece) {
    if (id < 0 || out.config.contains(key)) return;
    const auto found = std::ranges::find(model.pieces, piece, &SentencePiece::text);
    if (found != model.pieces.end()) out.config[key] = piece;
  };
  name("bos_token", model.bos_id, model.bos_piece);
  name("eos_token", model.eos_id, model.eos_piece);
  name("unk_token", model.unk_id, model.unk_piece);
  if (!model.charsmap.empty()) {
    out.notes.push_back(fmt::format(
        "{}: normalized as transformers 5 does it; SentencePiece itself gives other ids for some "
        "texts with combining marks",
        out.tokenizer_source));
  }
  const bool is_null = out.config.contains("legacy") && out.config["legacy"].is_null();
  SentencePieceRules rules;
  rules.prefix_everywhere = !is_null && bool_field(out.config, "legacy", true, out.config_source);
  return plain_sentencepiece_tokenizer(model, rules);
}

json tokenizer_with_habits(SentencePieceModel& model, const Habits& habits, TokenizerJson& out) {
  for (const auto& [key, piece] : habits.names) {
    if (!out.config.contains(key)) out.config[key] = piece;
  }
  json parts = tokenizer_by_habits(model, habits, out);
  out.notes.push_back(
      fmt::format("{}: read as {}, as transformers 5 does; SentencePiece itself gives other ids "
                  "for some texts {}",
                  out.tokenizer_source, habits.class_name, habits.others));
  json added = json::array();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    const bool control = piece.type == PieceType::kControl;
    if (!control && piece.type != PieceType::kUserDefined) continue;
    added.push_back(added_token(id, piece.text, control));
  }
  parts["added_tokens"] = std::move(added);
  return parts;
}

/// The token that the config has under `key`, where it is a piece; where not, that is an error,
/// which the config's reader reports.
std::optional<NamedId> named_piece(const SentencePieceModel& model, const json& config,
                                   const char* key) {
  const json value = config.value(key, json());
  const json content = value.is_object() ? value.value("content", json()) : value;
  if (!content.is_string()) return std::nullopt;
  const std::string text = content;
  const auto found = std::ranges::find(model.pieces, text, &SentencePiece::text);
  if (found == model.pieces.end()) return std::nullopt;
  return NamedId(found->text, size_t(found - model.pieces.begin()));
}

}  // namespace

void take_sentencepiece(SentencePieceModel model, const std::string& class_name,
                        TokenizerJson& out) {
  using Kind = SentencePieceKind;
  if (model.kind == Kind::kWord || model.kind == Kind::kChar) {
    fail("{}: a SentencePiece model of the type {} is not supported; supported are UNIGRAM and BPE",
         out.tokenizer_source, model.kind == Kind::kWord ? "WORD" : "CHAR");
  }
  if (model.whitespace_as_suffix) {
    fail("{}: 'treat_whitespace_as_suffix' is not supported", out.tokenizer_source);
  }
  if (std::ranges::find(kOtherClasses, class_name) != kOtherClasses.end()) {
    fail("{}: the tokenizer class {} is not supported from a SentencePiece model; {}",
         out.tokenizer_source, class_name, kConvert);
  }
  const Habits* habits = habits_of(class_name);
  json parts =
      habits ? tokenizer_with_habits(model, *habits, out) : tokenizer_without_habits(model, out);
  const auto around = [&](const char* flag, bool otherwise, const char* key) {
    return bool_field(out.config, flag, otherwise, out.config_source)
               ? named_piece(model, out.config, key)
               : std::nullopt;
  };
  if (class_name == "T5Tokenizer") {
    parts["post_processor"] = text_template({}, named_piece(model, out.config, "eos_token"));
  } else {
    parts["post_processor"] =
        text_template(around("add_bos_token", habits && habits->adds_bos, "bos_token"),
                      around("add_eos_token", false, "eos_token"));
  }
  out.tokenizer = whole_tokenizer(std::move(parts));
  out.config["tokenizer_class"] = habits ? class_name.c_str() : kPlainTokenizerClass;
}

}  // namespace tessera::launch
