// A regular expression of a pre-tokenizer, run by PCRE2. Only patterns known to take linear time
// are accepted: a backtracking engine on a stranger's pattern can take for ever.
// Immutable; any number of threads may search.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tessera::launch {

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// Of cl100k too.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

class Pattern {
 public:
  /// GPT-2's pattern, which ByteLevel uses.
  static Pattern gpt2();
  /// `regex` as tokenizer.json has it; Error, beginning with `where`, when it is not a known one.
  static Pattern known(const std::string& regex, const std::string& where);

  /// Begin and end of the first match at or after `from` in valid UTF-8. Matches are never empty.
  std::optional<std::pair<size_t, size_t>> find(std::string_view text, size_t from) const;

 private:
  struct Code;
  explicit Pattern(std::string_view regex);
  std::shared_ptr<const Code> code_;
};

}  // namespace tessera::launch
