#include "launch/text/tokenizer_decoder.h"

#include <cctype>
#include <optional>

#include "launch/text/bpe.h"
#include "launch/text/tokenizer_fields.h"
#include "launch/text/tokenizer_text.h"
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

std::string replaced(std::string text, const std::string& pattern, const std::string& content) {
  for (size_t at = text.find(pattern); at != std::string::npos;
       at = text.find(pattern, at + content.size())) {
    text.replace(at, pattern.size(), content);
  }
  return text;
}

}  // namespace

TokenDecoder::TokenDecoder(const nlohmann::json& node, const std::string& source) {
  const std::string where = source + ": decoder";
  add(node, where);
  if (byte_level_ && (byte_fallback_ || fused_ || !replacements_.empty() || strip_count_ > 0)) {
    fail("{}: ByteLevel beside other decoders is not supported", where);
  }
  if (!byte_level_ && !fused_) {
    fail("{}: supported are ByteLevel, and sequences of Replace, ByteFallback, Fuse and Strip",
         where);
  }
}

void TokenDecoder::add(const nlohmann::json& node, const std::string& where) {
  const std::string type = string_field(node, "type", where);
  if (fused_ && type != "Strip")
    fail("{}: '{}' after Fuse is not supported", where, io::printable(type));
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "decoders", where)) add(part, where);
  } else if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Replace" && !byte_fallback_) {
    const nlohmann::json& pattern = field(node, "pattern", where);
    replacements_.emplace_back(string_field(pattern, "String", where),
                               string_field(node, "content", where));
    if (replacements_.back().first.empty()) fail("{}: Replace has an empty pattern", where);
  } else if (type == "Strip" && fused_ && strip_count_ == 0) {
    strip_ = string_field(node, "content", where);
    const nlohmann::json& start = field(node, "start", where);
    if (strip_.empty() || !start.is_number_unsigned() || start.get<uint64_t>() > 1000 ||
        field(node, "stop", where) != 0) {
      fail("{}: Strip is supported at the start only, of at most 1000 characters", where);
    }
    strip_count_ = start.get<int>();
  } else {
    fail("{}: '{}' is not supported here", where, io::printable(type));
  }
}

void TokenDecoder::push(std::string_view token, State& state, std::string& text) const {
  if (byte_level_) {
    append_bytes(token, state.bytes);
    take_utf8(state.bytes, text, /*last=*/false);
    return;
  }
  std::string spelling(token);
  for (const auto& [pattern, content] : replacements_) {
    spelling = replaced(std::move(spelling), pattern, content);
  }
  const auto byte = byte_fallback_ ? fallback_byte(spelling) : std::nullopt;
  if (byte) {
    state.bytes += *byte;
  } else {
    end_byte_run(state, text);
    give_out(spelling, state, text);
  }
}

void TokenDecoder::finish(State& state, std::string& text) const {
  if (byte_level_) {
    take_utf8(state.bytes, text, /*last=*/true);
  } else {
    end_byte_run(state, text);
  }
  state = {};
}

void TokenDecoder::end_byte_run(State& state, std::string& text) const {
  if (state.bytes.empty()) return;
  const std::string run = std::exchange(state.bytes, {});
  if (!find_invalid_utf8(run)) {
    give_out(run, state, text);
    return;
  }
  // The reference gives up the whole run, byte by byte, when any of it is broken.
  for (size_t i = 0; i < run.size(); ++i) give_out(kReplacement, state, text);
}

void TokenDecoder::give_out(std::string_view part, State& state, std::string& text) const {
  while (!state.started && state.stripped < strip_count_ && part.starts_with(strip_)) {
    part.remove_prefix(strip_.size());
    ++state.stripped;
  }
  if (!part.empty()) state.started = true;
  text += part;
}

}  // namespace tessera::launch
