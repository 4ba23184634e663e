// The steps of a decoder: each takes the tokens of the step before it and gives tokens itself.
// Immutable; what a step keeps back between tokens is in a State.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tessera::launch {

class DecoderStep {
 public:
  struct State {
    std::string held;
    bool started = false;
    int stripped = 0;
  };
  using Give = std::function<void(std::string_view)>;

  virtual ~DecoderStep() = default;
  virtual void take(std::string_view token, State& state, const Give& give) const = 0;
  /// Gives what was kept back.
  virtual void end(State&, const Give&) const {}
};

using DecoderStepPointer = std::shared_ptr<const DecoderStep>;

/// Tokens with spaces between them.
DecoderStepPointer spaced_step();
/// Waits for all tokens, and gives them as one.
DecoderStepPointer gather_step();
/// GPT-2's stand-ins to bytes. Gives one token, in parts.
DecoderStepPointer byte_level_step();

/// Removes a character at the front of the one token whose parts come, `most` times at most.
DecoderStepPointer strip_front_step(const std::string& character, int most);

/// A decoder that makes every token another one. Error for a type that is none of these.
DecoderStepPointer read_decoder_step(const std::string& type, const nlohmann::json& node,
                                     const std::string& where);

/// The members of a decoder Strip.
struct StripCounts {
  std::string character;
  int start, stop;
};
StripCounts read_strip(const nlohmann::json& node, const std::string& where);

}  // namespace tessera::launch
