// The WordLevel model: a word is a token, or else the unknown token.
#pragma once

#include <string>
#include <utility>

#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "launch/text/tokenizer/tokenizer_vocabulary.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

class WordLevel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token)
      : vocabulary_(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Error when neither the word nor the unknown token is in the vocabulary.
  void encode(AlignedView word, Encoding& out) const {
    if (word.text.empty()) return;
    auto id = vocabulary_.find(word.text);
    if (!id) id = vocabulary_.find(unk_token_);
    if (!id) {
      fail("the word '{}' is no token, and the unknown token '{}' is not in the vocabulary",
           io::printable(word.text), io::printable(unk_token_));
    }
    out.ids.push_back(*id);
    out.begins.push_back(word.origin[0]);
  }

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
};

}  // namespace tessera::launch
