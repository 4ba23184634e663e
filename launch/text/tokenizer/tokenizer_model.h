// The "model" of a tokenizer.json: what makes tokens of a word. Immutable; copies share it.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "launch/text/tokenizer/bpe.h"
#include "launch/text/tokenizer/pretokenizer.h"
#include "launch/text/tokenizer/unigram.h"
#include "launch/text/tokenizer/word_level.h"

namespace tessera::launch {

class TokenModel {
 public:
  /// Belongs to one thread, which may use it for several models.
  struct Scratch {
    Bpe::Scratch bpe;
    Unigram::Scratch unigram;
  };

  /// The model of a tokenizer.json, whose type is inferred where the file has none. Leaves the
  /// spelling of bytes, the last step of `pretokenizer`, to the model where that gives the same
  /// ids. Error names what in `source` is damaged or not supported.
  static TokenModel read(const nlohmann::json& tokenizer, Pretokenizer& pretokenizer,
                         const std::string& source);

  std::optional<int32_t> find(std::string_view token) const { return vocabulary().find(token); }
  const Vocabulary& vocabulary() const;
  /// Every token and its id. Unigram may list one token under two ids.
  std::vector<std::pair<std::string_view, int32_t>> tokens() const;

  /// Appends the tokens of `word`, which is shorter than 2 GiB.
  void encode(AlignedView word, Scratch& scratch, Encoding& out) const;

 private:
  using Kind = std::variant<Bpe, Unigram, WordLevel>;
  explicit TokenModel(Kind kind) : kind_(std::make_shared<const Kind>(std::move(kind))) {}

  std::shared_ptr<const Kind> kind_;
};

}  // namespace tessera::launch
