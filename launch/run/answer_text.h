// The text of one answer from its tokens, which arrive one by one. It ends before the first stop
// string, also where that spans tokens: text that may be the beginning of one is held back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// Bytes at the end of `text` that begin one of `marks` and do not yet end it.
size_t held_back(std::string_view text, std::span<const std::string> marks);

class AnswerText {
 public:
  /// The stop strings outlive the object, and none is empty.
  AnswerText(const Tokenizer& tokenizer, std::span<const std::string> stops)
      : tokenizer_(tokenizer), decoder_(tokenizer), stops_(stops) {}

  /// The text that is certain after this token.
  std::string push(int32_t id);
  /// The rest, once there are no more tokens.
  std::string finish();

  /// Whether a stop string came. What is pushed from then on is ignored.
  bool stopped() const { return stopped_; }
  int64_t tokens() const { return tokens_; }

 private:
  std::string release(bool last);

  Tokenizer tokenizer_;
  StreamDecoder decoder_;
  std::span<const std::string> stops_;
  std::string pending_;  // decoded and not yet certain
  int64_t tokens_ = 0;
  bool stopped_ = false;
};

}  // namespace tessera::launch
