#include "launch/text/tokenizer/tokenizer_model.h"

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

Vocabulary read_vocabulary(const json& model, const std::string& where) {
  const json& node = field(model, "vocab", where);
  if (!node.is_object()) fail("{}: 'vocab' must be an object of tokens and ids", where);
  Vocabulary vocabulary;
  vocabulary.reserve(node.size());
  for (const auto& [token, id] : node.items()) vocabulary.set(token, token_id_of(id, where));
  return vocabulary;
}

std::vector<std::pair<std::string, std::string>> read_merges(const json& model,
                                                             const std::string& where) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& node : array_field(model, "merges", where)) {
    const auto wrong = [&] {
      fail("{}: merge {} must be two tokens, as \"a b\" or [\"a\", \"b\"], not {}", where,
           merges.size(), excerpt(node));
    };
    if (node.is_string()) {
      const auto& both = node.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) wrong();
      merges.emplace_back(both.substr(0, space), both.substr(space + 1));
    } else {
      if (!node.is_array() || node.size() != 2 || !node[0].is_string() || !node[1].is_string()) {
        wrong();
      }
      merges.emplace_back(node[0].get<std::string>(), node[1].get<std::string>());
    }
  }
  return merges;
}

Bpe read_bpe(const json& model, Pretokenizer& pretokenizer, const std::string& where) {
  const auto dropout = model.find("dropout");
  if (dropout != model.end() && !dropout->is_null() && *dropout != 0) {
    fail("{}: 'dropout' makes ids random; set it to null", where);
  }
  BpeOptions options;
  options.byte_fallback = bool_field(model, "byte_fallback", false, where);
  options.fuse_unk = bool_field(model, "fuse_unk", false, where);
  options.ignore_merges = bool_field(model, "ignore_merges", false, where);
  options.unk_token = optional_string(model, "unk_token", where);
  options.prefix = optional_string(model, "continuing_subword_prefix", where).value_or("");
  options.suffix = optional_string(model, "end_of_word_suffix", where).value_or("");
  // A byte is one character only where its token is looked for as it is.
  options.byte_level = !options.byte_fallback && options.prefix.empty() && options.suffix.empty() &&
                       pretokenizer.leave_byte_level();
  return Bpe(read_vocabulary(model, where), read_merges(model, where), options, where);
}

Unigram read_unigram(const json& model, const std::string& where) {
  std::vector<std::pair<std::string, double>> pieces;
  for (const json& node : array_field(model, "vocab", where)) {
    if (!node.is_array() || node.size() != 2 || !node[0].is_string() || !node[1].is_number()) {
      fail("{}: token {} of 'vocab' must be [token, score], not {}", where, pieces.size(),
           excerpt(node));
    }
    pieces.emplace_back(node[0].get<std::string>(), node[1].get<double>());
  }
  std::optional<int32_t> unk_id;
  const auto found = model.find("unk_id");
  if (found != model.end() && !found->is_null()) unk_id = token_id_of(*found, where);
  return Unigram(std::move(pieces), unk_id, bool_field(model, "byte_fallback", false, where),
                 where);
}

/// A file without a type has the first of the package's models that its members fit.
std::string type_of(const json& model, const std::string& where) {
  if (const auto type = optional_string(model, "type", where)) return *type;
  if (model.contains("merges")) return "BPE";
  if (model.contains("max_input_chars_per_word")) return "WordPiece";
  return field(model, "vocab", where).is_array() ? "Unigram" : "WordLevel";
}

}  // namespace

TokenModel TokenModel::read(const json& tokenizer, Pretokenizer& pretokenizer,
                            const std::string& source) {
  const std::string where = source + ": model";
  const json& model = field(tokenizer, "model", source);
  const std::string type = type_of(model, where);
  if (type == "BPE") return TokenModel(read_bpe(model, pretokenizer, where));
  if (type == "Unigram") return TokenModel(read_unigram(model, where));
  if (type == "WordLevel") {
    return TokenModel(
        WordLevel(read_vocabulary(model, where), string_field(model, "unk_token", where)));
  }
  fail("{}: type '{}' is not supported; supported are BPE, Unigram and WordLevel", where,
       io::printable(type));
}

const Vocabulary& TokenModel::vocabulary() const {
  return std::visit([](const auto& model) -> const Vocabulary& { return model.vocabulary(); },
                    *kind_);
}

std::vector<std::pair<std::string_view, int32_t>> TokenModel::tokens() const {
  const auto* unigram = std::get_if<Unigram>(kind_.get());
  if (!unigram) return vocabulary().tokens();
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  for (const auto& piece : unigram->pieces()) {
    tokens.emplace_back(piece.first, int32_t(tokens.size()));
  }
  return tokens;
}

void TokenModel::encode(AlignedView word, Scratch& scratch, Encoding& out) const {
  if (const auto* bpe = std::get_if<Bpe>(kind_.get())) {
    bpe->encode(word, scratch.bpe, out);
  } else if (const auto* unigram = std::get_if<Unigram>(kind_.get())) {
    unigram->encode(word, scratch.unigram, out);
  } else {
    std::get<WordLevel>(*kind_).encode(word, out);
  }
}

}  // namespace tessera::launch
