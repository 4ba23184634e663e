#include "launch/text/tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <functional>

#include "launch/text/tokenizer/base64.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/vocabulary_merges.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// What a text can be merged into, in SentencePiece's order: that of the scores.
json merges_by_score(const SentencePieceModel& model) {
  std::vector<RankedToken> tokens;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (piece.type != PieceType::kNormal) continue;
    tokens.push_back({piece.text, int64_t(id), -double(piece.score)});
  }
  return merges_of_vocabulary(tokens, MergeTies::kShorterLeft);
}

json scores_of(const SentencePieceModel& model) {
  json vocabulary = json::array();
  for (const SentencePiece& piece : model.pieces) {
    vocabulary.push_back(json::array({piece.text, double(piece.score)}));
  }
  return vocabulary;
}

/// `text` as a regular expression that only matches it.
std::string escaped(std::string_view text) {
  constexpr std::string_view kMeaningful = "()[]{}?*+-|^$\\.&~# \t\n\r\v\f";
  std::string out;
  for (const char c : text) {
    if (kMeaningful.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

size_t length_of(std::string_view text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

/// Cuts the pieces that the user defined out of a text, the longer ones first.
json user_pieces_step(const std::vector<std::string>& pieces) {
  std::vector<std::string> by_length = pieces;
  std::ranges::stable_sort(by_length, std::greater(), length_of);
  std::string pattern;
  for (const std::string& piece : by_length) {
    if (!pattern.empty()) pattern += '|';
    pattern += escaped(piece);
  }
  return split_step("Regex", pattern);
}

std::vector<std::string> pieces_of_type(const SentencePieceModel& model, PieceType type) {
  std::vector<std::string> texts;
  for (const SentencePiece& piece : model.pieces) {
    if (piece.type == type) texts.push_back(piece.text);
  }
  return texts;
}

json plain_normalizer(const SentencePieceModel& model, bool prefix_everywhere) {
  json steps = json::array();
  if (!model.charsmap.empty()) steps.push_back(charsmap_step(model));
  if (model.remove_extra_whitespaces) {
    steps.push_back(replace_step("Regex", R"(\A +| +\z)", ""));
    steps.push_back(replace_step("Regex", " {2,}", " "));
  }
  if (model.escape_whitespaces) steps.push_back(replace_step("String", " ", kPieceSpace));
  if (model.add_dummy_prefix && prefix_everywhere) {
    // Metaspace gives no prefix to a text that has one; SentencePiece does.
    const std::string space(kPieceSpace);
    steps.push_back(replace_step("Regex", "\\A" + space, space + space));
  }
  return normalizer_sequence(std::move(steps));
}

json plain_model(const SentencePieceModel& model, bool user_pieces) {
  if (model.kind == SentencePieceKind::kUnigram) {
    return unigram_model(model, size_t(model.unk_id), model.byte_fallback);
  }
  json bpe = bpe_model(piece_ids(model), merges_by_score(model));
  bpe["unk_token"] = model.pieces[size_t(model.unk_id)].text;
  bpe["fuse_unk"] = true;
  bpe["byte_fallback"] = model.byte_fallback;
  bpe["ignore_merges"] = user_pieces;  // no merge makes these
  return bpe;
}

}  // namespace

json piece_ids(const SentencePieceModel& model) {
  json ids = json::object();
  for (size_t id = 0; id < model.pieces.size(); ++id) ids[model.pieces[id].text] = id;
  return ids;
}

json unigram_model(const SentencePieceModel& model, size_t unk_id, bool byte_fallback) {
  return {{"type", "Unigram"},
          {"unk_id", unk_id},
          {"vocab", scores_of(model)},
          {"byte_fallback", byte_fallback}};
}

json charsmap_step(const SentencePieceModel& model) {
  return {{"type", "Precompiled"}, {"precompiled_charsmap", base64_of(model.charsmap)}};
}

json metaspace_step(const char* scheme, bool split) {
  return {{"type", "Metaspace"},
          {"replacement", kPieceSpace},
          {"prepend_scheme", scheme},
          {"split", split}};
}

json piece_decoder(bool byte_fallback, bool prefix) {
  json steps = json::array({replace_step("String", kPieceSpace, " ")});
  if (byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  if (byte_fallback || prefix) steps.push_back({{"type", "Fuse"}});
  if (prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1u}, {"stop", 0u}});
  }
  return decoder_sequence(std::move(steps));
}

json plain_sentencepiece_tokenizer(const SentencePieceModel& model, SentencePieceRules rules) {
  const std::vector<std::string> user = rules.user_pieces_in_words
                                            ? pieces_of_type(model, PieceType::kUserDefined)
                                            : std::vector<std::string>();
  json steps = json::array();
  if (model.add_dummy_prefix) {
    steps.push_back(metaspace_step(rules.prefix_everywhere ? "always" : "first", false));
  }
  if (!user.empty()) steps.push_back(user_pieces_step(user));
  json added = json::array();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    const bool control = piece.type == PieceType::kControl;
    const bool whole = piece.type == PieceType::kUserDefined && !rules.user_pieces_in_words;
    if (control || whole) added.push_back(added_token(id, piece.text, control));
  }
  return {{"model", plain_model(model, !user.empty())},
          {"added_tokens", std::move(added)},
          {"normalizer", plain_normalizer(model, rules.prefix_everywhere)},
          {"pre_tokenizer", pretokenizer_sequence(std::move(steps))},
          {"decoder", piece_decoder(model.byte_fallback, model.add_dummy_prefix)}};
}

}  // namespace tessera::launch
