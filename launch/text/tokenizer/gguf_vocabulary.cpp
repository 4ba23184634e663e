#include "launch/text/tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "launch/text/tokenizer/gguf_pretokenizers.h"
#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/sentencepiece_tokenizer.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

constexpr const char* kTypes = "tokenizer.ggml.token_type";

/// One number for each token; empty where the file has none.
std::vector<int64_t> types_of(const io::GgufFile& file, size_t tokens) {
  if (!file.has(kTypes)) return {};
  std::vector<int64_t> types = file.integers(kTypes);
  if (types.size() != tokens) {
    fail("{}: there are {} tokens, but {} values in {}", file.path(), tokens, types.size(), kTypes);
  }
  return types;
}

/// Tokens of the types control and user-defined are looked for in texts.
json added_tokens_of(const io::GgufFile& file, const std::vector<std::string>& tokens,
                     const json& vocabulary) {
  json added = json::array();
  const std::vector<int64_t> types = types_of(file, tokens.size());
  for (size_t id = 0; id < types.size(); ++id) {
    const bool control = types[id] == int64_t(PieceType::kControl);
    if (!control && types[id] != int64_t(PieceType::kUserDefined)) continue;
    const auto known = vocabulary.find(tokens[id]);
    if (known == vocabulary.end() || *known != id) continue;  // left out
    added.push_back(added_token(id, tokens[id], control));
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

GgufVocabulary read_byte_level(const io::GgufFile& file) {
  const std::string key = "tokenizer.ggml.pre";
  if (!file.has(key)) {
    fail(
        "{}: '{}' is missing, so how to cut words is unknown; convert the model anew, or use its "
        "Hugging Face folder",
        file.path(), key);
  }
  GgufPretokenizer words = gguf_pretokenizer(file.string(key), file.path());
  GgufVocabulary out;
  out.tokens = file.strings("tokenizer.ggml.tokens");
  out.adds_bos = words.adds_bos;
  const json vocabulary = vocabulary_of(file, out.tokens, out.notes);
  json bpe = bpe_model(vocabulary, file.strings("tokenizer.ggml.merges"));
  bpe["ignore_merges"] = words.ignore_merges;
  out.parts = {{"added_tokens", added_tokens_of(file, out.tokens, vocabulary)},
               {"normalizer", words.nfc ? json{{"type", "NFC"}} : json(nullptr)},
               {"pre_tokenizer", std::move(words.steps)},
               {"decoder", byte_level_step(true)},
               {"model", std::move(bpe)}};
  return out;
}

/// Gemma 4: merges, as of byte-level BPE, of text that is spelt as SentencePiece's.
GgufVocabulary read_gemma4(const io::GgufFile& file) {
  GgufVocabulary out;
  out.tokens = file.strings("tokenizer.ggml.tokens");
  out.adds_bos = true;
  const json vocabulary = vocabulary_of(file, out.tokens, out.notes);
  json bpe = bpe_model(vocabulary, file.strings("tokenizer.ggml.merges"));
  bpe["byte_fallback"] = true;
  bpe["fuse_unk"] = true;
  out.parts = {{"added_tokens", added_tokens_of(file, out.tokens, vocabulary)},
               {"normalizer", replace_step("String", " ", kPieceSpace)},
               {"pre_tokenizer", split_step("Regex", R"([^\n]+|[\n]+)")},
               {"decoder", piece_decoder(/*byte_fallback=*/true, /*prefix=*/false)},
               {"model", std::move(bpe)}};
  return out;
}

std::vector<SentencePiece> pieces_of(const io::GgufFile& file,
                                     const std::vector<std::string>& tokens) {
  const std::string key = "tokenizer.ggml.scores";
  const std::vector<double> scores = file.reals(key);
  if (scores.size() != tokens.size()) {
    fail("{}: there are {} tokens, but {} values in {}", file.path(), tokens.size(), scores.size(),
         key);
  }
  const std::vector<int64_t> types = types_of(file, tokens.size());
  std::vector<SentencePiece> pieces;
  std::unordered_set<std::string_view> known;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto wrong = [&](const char* why) {
      fail("{}: tokenizer.ggml.tokens: token {} {}", file.path(), id, why);
    };
    if (find_invalid_utf8(tokens[id])) wrong("is not valid UTF-8");
    if (tokens[id].empty()) wrong("is empty");
    if (tokens[id].size() > SentencePieceModel::kLongestPiece) wrong("is too long");
    if (!known.insert(tokens[id]).second) wrong("is given twice");
    if (!std::isfinite(scores[id])) wrong("has no finite score");
    SentencePiece& piece = pieces.emplace_back();
    piece.text = tokens[id];
    piece.score = float(scores[id]);
    // A type that is not known is that of no text's token.
    const int64_t type = types.empty() ? int64_t(PieceType::kNormal) : types[id];
    const bool is_type = type >= int64_t(PieceType::kNormal) && type <= int64_t(PieceType::kByte);
    piece.type = is_type ? PieceType(type) : PieceType::kUnused;
  }
  return pieces;
}

GgufVocabulary read_sentencepiece(const io::GgufFile& file, SentencePieceKind kind) {
  const auto flag = [&](const char* key, bool otherwise) {
    return file.has(key) ? file.boolean(key) : otherwise;
  };
  const bool bpe = kind == SentencePieceKind::kBpe;
  GgufVocabulary out;
  out.tokens = file.strings("tokenizer.ggml.tokens");
  if (bpe) {
    out.unk = 0;
    out.bos = 1;
    out.eos = 2;
  } else {
    out.pad = 0;
    out.eos = 1;
    out.unk = 2;
  }
  out.adds_bos = bpe;
  out.adds_eos = !bpe;
  SentencePieceModel model;
  model.pieces = pieces_of(file, out.tokens);
  model.kind = kind;
  const char* unk_key = "tokenizer.ggml.unknown_token_id";
  const int64_t unk = file.has(unk_key) ? file.integer(unk_key) : *out.unk;
  if (unk < 0 || unk >= int64_t(out.tokens.size())) {
    fail("{}: {} is {}, but the ids are 0 to {}", file.path(), unk_key, unk,
         int64_t(out.tokens.size()) - 1);
  }
  model.unk_id = int32_t(unk);
  model.byte_fallback = bpe;
  model.add_dummy_prefix = flag("tokenizer.ggml.add_space_prefix", true);
  model.remove_extra_whitespaces = flag("tokenizer.ggml.remove_extra_whitespaces", false);
  const char* charsmap = "tokenizer.ggml.precompiled_charsmap";
  if (file.has(charsmap)) {
    for (const int64_t byte : file.integers(charsmap)) model.charsmap += char(byte);
  }
  out.parts = plain_sentencepiece_tokenizer(
      model, {.prefix_everywhere = true, .user_pieces_in_words = false});
  return out;
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const io::GgufFile& file) {
  const std::string model = file.string("tokenizer.ggml.model");
  if (model == "gpt2") return read_byte_level(file);
  if (model == "llama") return read_sentencepiece(file, SentencePieceKind::kBpe);
  if (model == "t5") return read_sentencepiece(file, SentencePieceKind::kUnigram);
  if (model == "gemma4") return read_gemma4(file);
  fail(
      "{}: the tokenizer model '{}' is not supported in GGUF; supported are gpt2, llama, t5 and "
      "gemma4; use the model's Hugging Face folder",
      file.path(), io::printable(model));
}

}  // namespace tessera::launch
