#include "launch/text/tokenizer/gguf_vocabulary_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "launch/text/tokenizer/gguf_pretokenizers.h"
#include "launch/text/tokenizer/gguf_vocabulary_copy.h"
#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/sentencepiece_tokenizer.h"
#include "launch/text/tokenizer/tokenizer_encoder.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kPre = "tokenizer.ggml.pre";

TokenizerJson read_any(const std::string& path) {
  return io::is_folder(path) ? read_tokenizer_folder(path) : read_gguf_tokenizer(path);
}

/// llama.cpp's converter takes these for control tokens, whatever a tokenizer's files say.
bool looks_special(std::string_view token) {
  constexpr std::string_view kKnown[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
  constexpr std::pair<std::string_view, std::string_view> kBrackets[] = {
      {"<|", "|>"}, {"<\uff5c", "\uff5c>"}, {"<unused", ">"}};
  return std::ranges::find(kKnown, token) != std::end(kKnown) ||
         std::ranges::any_of(kBrackets, [&](const auto& pair) {
           return token.starts_with(pair.first) && token.ends_with(pair.second);
         });
}

// Members of a tokenizer.json that was read already, so that what is there is of the right type.

json member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? json(nullptr) : *found;
}

bool flag(const json& object, const char* key, bool otherwise = false) {
  const json value = member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

std::string text_in(const json& object, const char* key) {
  const json value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

/// The vocabulary of a folder's tokenizer, on its way into metadata.
class VocabularyWriter {
 public:
  VocabularyWriter(const std::string& path, const GgufVocabularyOptions& options,
                   io::GgufMetadata& metadata)
      : path_(path),
        options_(options),
        metadata_(metadata),
        files_(read_tokenizer_folder(path)),
        parts_(make_tokenizer_parts(files_)),
        model_(member(files_.tokenizer, "model")) {}

  std::vector<std::string> put() {
    const bool bpe = model_.contains("merges");
    const bool pieces = bpe && flag(model_, "byte_fallback");
    if (!bpe) {
      fail(
          "{}: the tokenizer is neither byte-level BPE nor SentencePiece's; only these can be "
          "written into a GGUF file",
          files_.tokenizer_source);
    }
    metadata_.put_text("tokenizer.ggml.model", pieces ? "llama" : "gpt2");
    metadata_.put_text(kPre, pieces ? options_.pre.value_or("default") : pre());
    take_tokens();
    if (pieces) {
      take_scores();
      metadata_.put_texts("tokenizer.ggml.tokens", tokens_);
      metadata_.put_f32s("tokenizer.ggml.scores", scores_);
    } else {
      metadata_.put_texts("tokenizer.ggml.tokens", tokens_);
    }
    metadata_.put_i32s("tokenizer.ggml.token_type", types_);
    if (pieces) {
      metadata_.put_bool("tokenizer.ggml.add_space_prefix", has_space_prefix());
    } else {
      metadata_.put_texts("tokenizer.ggml.merges", merges());
    }
    put_named_tokens();
    put_around();
    put_chat_templates();
    return std::move(notes_);
  }

 private:
  /// The name of how words are cut.
  std::string pre() const {
    if (options_.pre) return *options_.pre;
    const json normalizer = member(files_.tokenizer, "normalizer");
    const bool nfc = text_in(normalizer, "type") == "NFC";
    const bool none = normalizer.is_null() || member(normalizer, "normalizers") == json::array();
    const auto names = gguf_pretokenizer_names(member(files_.tokenizer, "pre_tokenizer"),
                                               {.steps = {},
                                                .nfc = nfc,
                                                .ignore_merges = flag(model_, "ignore_merges"),
                                                .adds_bos = parts_.adds_bos()});
    if ((!none && !nfc) || names.empty()) {
      fail(
          "{}: llama.cpp has no name for how this tokenizer cuts words; give the name of one that "
          "comes near it as --tokenizer_pre, such as gpt-2, llama-bpe or qwen2",
          files_.tokenizer_source);
    }
    // Names of one kind cut words alike; an architecture has its own.
    for (const std::string& own : {options_.architecture, options_.architecture + "-bpe"}) {
      if (std::ranges::find(names, own) != names.end()) return own;
    }
    return names.front();
  }

  void take_tokens() {
    if (int64_t(parts_.tokens.size()) > options_.vocab) {
      fail("{}: there are {} tokens, but the model has rows for {}; a GGUF file cannot hold more",
           files_.tokenizer_source, parts_.tokens.size(), options_.vocab);
    }
    tokens_ = parts_.tokens;
    tokens_.resize(size_t(options_.vocab));
    for (size_t id = 0; id < tokens_.size(); ++id) {
      std::string& token = tokens_[id];
      PieceType type = PieceType::kNormal;
      if (token.empty()) {
        token = fmt::format("[PAD{}]", id);
        type = PieceType::kUnused;
      } else if (parts_.added_ids.contains(token)) {
        type = parts_.special[id] || looks_special(token) ? PieceType::kControl
                                                          : PieceType::kUserDefined;
        // llama.cpp looks for these in the text as it is.
        if (type == PieceType::kUserDefined) token = replaced(token, kPieceSpace, " ");
      }
      types_.push_back(int32_t(type));
    }
  }

  // SentencePiece's.

  void take_scores() {
    constexpr float kOfUnused = -10000, kOfAdded = -1000;
    scores_.assign(tokens_.size(), kOfUnused);
    const fs::path file = fs::path(path_) / "tokenizer.model";
    if (io::exists(file)) {
      take_pieces(file.string());
    } else {
      take_ranks();
    }
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const auto type = PieceType(types_[id]);
      if (type == PieceType::kControl || type == PieceType::kUserDefined) scores_[id] = kOfAdded;
    }
  }

  /// From the file that the tokenizer was made of, where it is beside it.
  void take_pieces(const std::string& file) {
    const std::string bytes = io::read_file(file, kLargestTokenizerFile);
    if (!is_sentencepiece_model(bytes)) return take_ranks();
    const SentencePieceModel model = parse_sentencepiece_model(bytes, file);
    for (size_t id = 0; id < std::min(model.pieces.size(), tokens_.size()); ++id) {
      const SentencePiece& piece = model.pieces[id];
      scores_[id] = piece.score;
      if (types_[id] == int32_t(PieceType::kNormal)) types_[id] = int32_t(piece.type);
    }
  }

  /// From the merges: llama.cpp makes the token of the highest score first, and of equal ones the
  /// leftmost, as the merge of the lowest rank comes first.
  void take_ranks() {
    std::unordered_map<std::string, size_t> ranks;
    const json& listed = model_["merges"];
    for (size_t rank = 0; rank < listed.size(); ++rank) {
      const auto [left, right] = merge_of(listed[rank]);
      ranks.emplace(left + right, rank);
    }
    const std::string unk = text_in(model_, "unk_token");
    for (size_t id = 0; id < parts_.tokens.size(); ++id) {
      const std::string& token = parts_.tokens[id];
      const auto rank = ranks.find(token);
      scores_[id] = -float(rank == ranks.end() ? ranks.size() + id : rank->second);
      const bool byte = token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
      if (byte) types_[id] = int32_t(PieceType::kByte);
      if (token == unk && types_[id] == int32_t(PieceType::kNormal)) {
        types_[id] = int32_t(PieceType::kUnknown);
      }
    }
  }

  /// Whether a text begins with a space that it does not have.
  bool has_space_prefix() const {
    bool prefix = false;
    const auto look = [&](const auto& again, const json& step) -> void {
      if (!step.is_object()) return;
      const std::string type = text_in(step, "type");
      if (type == "Prepend") prefix = true;
      if (type == "Metaspace") {
        const std::string scheme = text_in(step, "prepend_scheme");
        prefix = scheme.empty() ? flag(step, "add_prefix_space", true) : scheme != "never";
      }
      for (const char* key : {"normalizers", "pretokenizers"}) {
        for (const json& one : member(step, key)) again(again, one);
      }
    };
    look(look, member(files_.tokenizer, "normalizer"));
    look(look, member(files_.tokenizer, "pre_tokenizer"));
    return prefix;
  }

  // Byte-level.

  std::pair<std::string, std::string> merge_of(const json& merge) const {
    if (merge.is_array() && merge.size() == 2) return {merge[0], merge[1]};
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos) fail("{}: the merge '{}' is no pair", path_, text);
    return {text.substr(0, space), text.substr(space + 1)};
  }

  /// A space inside a token becomes the character that stands for it.
  std::vector<std::string> merges() const {
    std::vector<std::string> out;
    for (const json& merge : model_["merges"]) {
      const auto [left, right] = merge_of(merge);
      out.push_back(replaced(left, " ", "\u0120") + " " + replaced(right, " ", "\u0120"));
    }
    return out;
  }

  // What both have.

  void put_id(const char* name, int64_t id) {
    metadata_.put_u32(fmt::format("tokenizer.ggml.{}_token_id", name), uint32_t(id));
  }

  void put_named_tokens() {
    const std::optional<int32_t> bos = parts_.bos ? parts_.bos : options_.bos;
    if (bos) put_id("bos", *bos);
    std::vector<int32_t> ends;
    const auto add_end = [&](int32_t id) {
      if (id >= 0 && id < options_.vocab && std::ranges::find(ends, id) == ends.end()) {
        ends.push_back(id);
      }
    };
    if (parts_.eos) add_end(*parts_.eos);
    for (const int32_t id : options_.eos_ids) add_end(id);
    constexpr const char* kEnds[] = {"eos", "eot", "eom"};
    for (size_t i = 0; i < ends.size(); ++i) {
      if (i < std::size(kEnds)) {
        put_id(kEnds[i], ends[i]);
        continue;
      }
      notes_.push_back(fmt::format("note: token {} '{}' ends texts, too; GGUF has no key for it",
                                   ends[i], io::printable(tokens_[size_t(ends[i])])));
    }
    constexpr std::pair<const char*, const char*> kOthers[] = {{"unk_token", "unknown"},
                                                               {"sep_token", "seperator"},
                                                               {"pad_token", "padding"},
                                                               {"cls_token", "cls"},
                                                               {"mask_token", "mask"}};
    for (const auto& [name, key] : kOthers) {
      const auto text = parts_.named_tokens.find(name);
      if (text == parts_.named_tokens.end()) continue;
      const auto id = std::ranges::find(parts_.tokens, text->second);
      if (id != parts_.tokens.end()) put_id(key, id - parts_.tokens.begin());
    }
  }

  void put_around() {
    const auto put = [&](const char* name, const std::vector<int32_t>& around,
                         const std::optional<int32_t>& token, const char* side) {
      const bool adds = around.size() == 1 && token == around[0];
      metadata_.put_bool(fmt::format("tokenizer.ggml.add_{}_token", name), adds);
      if (adds || around.empty()) return;
      std::vector<std::string> texts;
      for (const int32_t id : around) texts.push_back(io::printable(parts_.tokens[size_t(id)]));
      notes_.push_back(fmt::format(
          "note: the tokenizer puts {} {} a text, and GGUF has no key for it: llama.cpp puts none",
          fmt::join(texts, " "), side));
    };
    put("bos", parts_.prefix, parts_.bos, "before");
    put("eos", parts_.suffix, parts_.eos, "behind");
  }

  void put_chat_templates() {
    const std::string key = "tokenizer.chat_template";
    std::vector<std::string> names;
    for (const auto& [name, text] : parts_.chat_templates) {
      if (name != "default") names.push_back(name);
    }
    if (!names.empty()) metadata_.put_texts("tokenizer.chat_templates", names);
    for (const auto& [name, text] : parts_.chat_templates) {
      metadata_.put_text(name == "default" ? key : key + "." + name, text);
    }
  }

  const std::string& path_;
  const GgufVocabularyOptions& options_;
  io::GgufMetadata& metadata_;
  TokenizerJson files_;
  TokenizerParts parts_;
  json model_;
  std::vector<std::string> tokens_;
  std::vector<int32_t> types_;
  std::vector<float> scores_;
  std::vector<std::string> notes_;
};

}  // namespace

bool has_tokenizer(const std::string& path) {
  if (!io::is_folder(path)) return io::GgufFile(path).has("tokenizer.ggml.model");
  return std::ranges::any_of(io::names_in(path), [](const std::string& name) {
    return name == "tokenizer.json" || name == "tekken.json" || name == "spiece.model" ||
           name.starts_with("tokenizer.model") || name.ends_with("tiktoken") ||
           name == "tiktoken.model";
  });
}

std::vector<std::string> put_gguf_vocabulary(const std::string& path,
                                             const GgufVocabularyOptions& options,
                                             io::GgufMetadata& metadata) {
  if (io::is_folder(path)) return VocabularyWriter(path, options, metadata).put();
  copy_gguf_vocabulary(io::GgufFile(path), options.pre, metadata);
  return {};
}

std::vector<std::string> differences_in_gguf(const std::string& path, const std::string& gguf) {
  const TokenizerParts here = make_tokenizer_parts(read_any(path));
  const TokenizerParts there = make_tokenizer_parts(read_gguf_tokenizer(gguf));
  std::vector<std::string> texts = {
      "It's 7 o'clock; we'll pay 12345678.90 for 3 of them, they're HERE'S new.",
      "  two spaces\n\n\tand a tab \r\n end   ",
      "\u00dcber na\u00efve caf\u00e9s, \u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443"
      "\u0439, \u4f60\u597d\u4e16\u754c, \u3053\u3093\u306b\u3061\u306f, \ud55c\uad6d\uc5b4",
      "def f(x):\n    return x**2 + _y[0] != {'k': \"v\"}  # //...!!??\n",
      "\U0001f680\u200d\U0001f32b\ufe0f \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u00bd \u2167 "
      "e\u0301"};
  if (here.eos) texts.push_back(here.tokens[size_t(*here.eos)] + "a word");
  std::vector<std::string> lines;
  for (const std::string& text : texts) {
    const TextPiece piece{.text = text};
    const auto ids = encode_pieces(here, {&piece, 1}).ids;
    const auto others = encode_pieces(there, {&piece, 1}).ids;
    if (ids == others) continue;
    lines.push_back(
        fmt::format("warning: {} makes {} tokens of '{}', and llama.cpp others, {} of them", path,
                    ids.size(), io::printable(text, 40), others.size()));
  }
  return lines;
}

}  // namespace tessera::launch
