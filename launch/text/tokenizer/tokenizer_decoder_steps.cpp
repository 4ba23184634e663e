#include "launch/text/tokenizer/tokenizer_decoder_steps.h"

#include <cctype>
#include <optional>
#include <utility>
#include <variant>

#include "launch/text/tokenizer/byte_stand_ins.h"
#include "launch/text/tokenizer/pretokenizer_pattern.h"
#include "launch/text/tokenizer/pretokenizer_split.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

/// The bytes a byte-level token spells. A token with a character that stands for no byte, as an
/// added token may have, is itself.
void append_bytes(std::string_view token, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < token.size(); at += utf8_length(token[at])) {
    const auto byte = byte_of_stand_in(utf8_at(token, at));
    if (!byte) {
      bytes.resize(before);
      bytes += token;
      return;
    }
    bytes += char(*byte);
  }
}

/// The byte of a token like <0x0A>.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  if (!std::isxdigit(uint8_t(token[3])) || !std::isxdigit(uint8_t(token[4]))) return std::nullopt;
  return char(std::stoi(std::string(token.substr(3, 2)), nullptr, 16));
}

class Spaced : public DecoderStep {
 public:
  void take(std::string_view token, State& state, const Give& give) const override {
    if (std::exchange(state.started, true)) give(" ");
    give(token);
  }
};

class Gather : public DecoderStep {
 public:
  void take(std::string_view token, State& state, const Give&) const override {
    state.held += token;
  }
  void end(State& state, const Give& give) const override { give(state.held); }
};

class ByteLevel : public DecoderStep {
 public:
  void take(std::string_view token, State& state, const Give& give) const override {
    append_bytes(token, state.held);
    give_whole(state, give, /*last=*/false);
  }
  void end(State& state, const Give& give) const override {
    give_whole(state, give, /*last=*/true);
  }

 private:
  static void give_whole(State& state, const Give& give, bool last) {
    std::string text;
    take_utf8(state.held, text, last);
    if (!text.empty()) give(text);
  }
};

class ByteFallback : public DecoderStep {
 public:
  void take(std::string_view token, State& state, const Give& give) const override {
    if (const auto byte = fallback_byte(token)) {
      state.held += *byte;
      return;
    }
    end(state, give);
    give(token);
  }
  void end(State& state, const Give& give) const override {
    if (state.held.empty()) return;
    const std::string run = std::exchange(state.held, {});
    if (!find_invalid_utf8(run)) {
      give(run);
      return;
    }
    // The reference gives up the whole run, byte by byte, when any of it is broken.
    for (size_t i = 0; i < run.size(); ++i) give(kReplacement);
  }
};

class Metaspace : public DecoderStep {
 public:
  Metaspace(std::string replacement, bool drops_first)
      : replacement_(std::move(replacement)), drops_first_(drops_first) {}
  void take(std::string_view token, State& state, const Give& give) const override {
    const bool first = !std::exchange(state.started, true);
    give(replaced(token, replacement_, first && drops_first_ ? "" : " "));
  }

 private:
  std::string replacement_;
  bool drops_first_;  // in the first token the replacements go
};

class Replace : public DecoderStep {
 public:
  Replace(std::variant<std::string, Pattern> what, std::string content)
      : what_(std::move(what)), content_(std::move(content)) {}
  void take(std::string_view token, State&, const Give& give) const override {
    if (const auto* plain = std::get_if<std::string>(&what_)) {
      give(replaced(token, *plain, content_));
      return;
    }
    if (token.empty()) {  // as in the reference, even where the pattern may be empty
      give(token);
      return;
    }
    std::string out;
    const auto find = [&](size_t from) { return std::get<Pattern>(what_).find(token, from); };
    for (const Stretch& part : find_stretches(token, /*invert=*/false, find)) {
      out += part.matches ? content_ : token.substr(part.begin, part.end - part.begin);
    }
    give(out);
  }

 private:
  std::variant<std::string, Pattern> what_;
  std::string content_;
};

/// At both ends of every token.
class Strip : public DecoderStep {
 public:
  explicit Strip(StripCounts counts) : counts_(std::move(counts)) {}
  void take(std::string_view token, State&, const Give& give) const override {
    const std::string& character = counts_.character;
    for (int i = 0; i < counts_.start && token.starts_with(character); ++i) {
      token.remove_prefix(character.size());
    }
    for (int i = 0; i < counts_.stop && token.ends_with(character); ++i) {
      token.remove_suffix(character.size());
    }
    give(token);
  }

 private:
  StripCounts counts_;
};

class StripFront : public DecoderStep {
 public:
  StripFront(std::string character, int most) : character_(std::move(character)), most_(most) {}
  void take(std::string_view part, State& state, const Give& give) const override {
    while (!state.started && state.stripped < most_ && part.starts_with(character_)) {
      part.remove_prefix(character_.size());
      ++state.stripped;
    }
    if (part.empty()) return;
    state.started = true;
    give(part);
  }

 private:
  std::string character_;
  int most_;
};

/// The end of a word becomes a space, but at the end of the text.
class WordEnd : public DecoderStep {
 public:
  explicit WordEnd(std::string suffix) : suffix_(std::move(suffix)) {}
  void take(std::string_view token, State& state, const Give& give) const override {
    if (std::exchange(state.started, true)) give(replaced(state.held, suffix_, " "));
    state.held = token;
  }
  void end(State& state, const Give& give) const override {
    if (state.started) give(replaced(state.held, suffix_, ""));
  }

 private:
  std::string suffix_;
};

DecoderStepPointer read_replace(const nlohmann::json& node, const std::string& where) {
  const nlohmann::json& pattern = field(node, "pattern", where);
  const std::string content = string_field(node, "content", where);
  if (pattern.is_object() && pattern.contains("Regex")) {
    return std::make_shared<Replace>(Pattern::read(string_field(pattern, "Regex", where), where),
                                     content);
  }
  const std::string plain = string_field(pattern, "String", where);
  if (plain.empty()) fail("{}: Replace has an empty pattern", where);
  return std::make_shared<Replace>(plain, content);
}

DecoderStepPointer read_metaspace(const nlohmann::json& node, const std::string& where) {
  const std::string replacement = string_field(node, "replacement", where);
  if (replacement.empty()) fail("{}: Metaspace has an empty replacement", where);
  const bool prefix = bool_field(node, "add_prefix_space", true, where);
  const std::string scheme =
      optional_string(node, "prepend_scheme", where).value_or(prefix ? "always" : "never");
  return std::make_shared<Metaspace>(replacement, scheme != "never");
}

}  // namespace

DecoderStepPointer spaced_step() { return std::make_shared<Spaced>(); }
DecoderStepPointer gather_step() { return std::make_shared<Gather>(); }
DecoderStepPointer byte_level_step() { return std::make_shared<ByteLevel>(); }
DecoderStepPointer strip_front_step(const std::string& character, int most) {
  return std::make_shared<StripFront>(character, most);
}

StripCounts read_strip(const nlohmann::json& node, const std::string& where) {
  constexpr int kMost = 1000;
  const auto count = [&](const char* key) {
    const nlohmann::json& value = field(node, key, where);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t(kMost)) {
      fail("{}: '{}' of Strip must be an integer from 0 to {}, not {}", where, key, kMost,
           excerpt(value));
    }
    return value.get<int>();
  };
  const std::string character = string_field(node, "content", where);
  if (character.empty() || utf8_length(character[0]) != character.size()) {
    fail("{}: 'content' of Strip must be one character, not '{}'", where, io::printable(character));
  }
  return {character, count("start"), count("stop")};
}

DecoderStepPointer read_decoder_step(const std::string& type, const nlohmann::json& node,
                                     const std::string& where) {
  if (type == "ByteFallback") return std::make_shared<ByteFallback>();
  if (type == "Metaspace") return read_metaspace(node, where);
  if (type == "Replace") return read_replace(node, where);
  if (type == "Strip") return std::make_shared<Strip>(read_strip(node, where));
  if (type == "BPEDecoder") {
    const std::string suffix = optional_string(node, "suffix", where).value_or("</w>");
    if (suffix.empty()) fail("{}: BPEDecoder has an empty suffix", where);
    return std::make_shared<WordEnd>(suffix);
  }
  fail(
      "{}: '{}' is not supported; supported are ByteLevel, Metaspace, ByteFallback, Fuse, Strip, "
      "Replace, BPEDecoder and Sequence",
      where, io::printable(type));
}

}  // namespace tessera::launch
