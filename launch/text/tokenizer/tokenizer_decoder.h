// Token spellings back to text, one by one, by the decoders of a tokenizer.json. The text given out
// is valid UTF-8 at every moment; bytes that are none become U+FFFD.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer_decoder_steps.h"

namespace tessera::launch {

class TokenDecoder {
 public:
  struct State {
    std::vector<DecoderStep::State> steps;  // empty before the first token
  };

  /// From the "decoder" of a tokenizer.json; null is none: tokens stand with spaces between them.
  /// Error names an unsupported kind.
  TokenDecoder(const nlohmann::json& node, const std::string& source);

  /// Appends to `text` what is certain after `token`.
  void push(std::string_view token, State& state, std::string& text) const;
  /// Appends the rest and makes `state` new.
  void finish(State& state, std::string& text) const;

 private:
  void add(const nlohmann::json& node, const std::string& where);
  /// Gives a token to the step `index`, or, behind the last, to the text.
  void give(size_t index, std::string_view token, State& state, std::string& text) const;

  std::vector<std::shared_ptr<const DecoderStep>> steps_;
  /// Whether the last step gives one token in parts. A step that cannot read parts of a token is
  /// then preceded by one that waits for all of them.
  bool gives_parts_ = false;
};

}  // namespace tessera::launch
