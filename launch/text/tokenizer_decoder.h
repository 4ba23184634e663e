// Token spellings back to text, one by one: byte-level, or with byte fallback as in Llama 2.
// The text given out is valid UTF-8 at every moment; bytes that are none become U+FFFD.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::launch {

class TokenDecoder {
 public:
  struct State {
    std::string bytes;     // not yet given out
    bool started = false;  // whether text was given out
    int stripped = 0;      // spaces taken from its front
  };

  /// From the "decoder" of a tokenizer.json. Error names an unsupported kind.
  TokenDecoder(const nlohmann::json& node, const std::string& source);

  /// Appends to `text` what is certain after `token`.
  void push(std::string_view token, State& state, std::string& text) const;
  /// Appends the rest and makes `state` new.
  void finish(State& state, std::string& text) const;

 private:
  void add(const nlohmann::json& node, const std::string& where);
  void end_byte_run(State& state, std::string& text) const;
  void give_out(std::string_view part, State& state, std::string& text) const;

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fused_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string strip_;  // this is taken from the front, at most strip_count_ times
  int strip_count_ = 0;
};

}  // namespace tessera::launch
