#include "launch/report/sample_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "launch/report/visible_text.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kIndent = "  ";
constexpr std::string_view kLearnedBegin = "⟦", kLearnedEnd = "⟧";

/// SGR parameters of a terminal.
constexpr const char* style_of(bool learned, bool special) {
  if (special) return learned ? "7;32" : "34";  // green turned round; blue
  return learned ? "1;32" : "2";                // bold green; dim
}

std::string painted(std::string_view text, const char* style) {
  return text.empty() ? "" : fmt::format("\x1b[{}m{}\x1b[0m", style, text);
}

/// In colours that end with each line, so that a pager may begin anywhere.
std::string painted_lines(std::string_view text, const char* style) {
  std::string out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    out += painted(text.substr(0, end), style);
    if (end == text.npos) break;
    out += '\n';
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string indented(std::string_view text) {
  std::string out(kIndent);
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += kIndent;
  }
  if (!out.ends_with('\n')) out += '\n';
  return out;
}

/// The text in quotes, or what the vocabulary calls a token without one.
std::string shown(const std::string& text, const std::string& spelling) {
  return text.empty() ? fmt::format("‹{}›", visible(spelling, Lines::kOne))
                      : fmt::format("\"{}\"", visible(text, Lines::kOne));
}

std::string predicted(const SampleToken& next) {
  if (!next.learned()) return "";
  return fmt::format("{} {}", next.label,
                     next.label == next.id ? shown(next.text, next.spelling)
                                           : shown(next.label_text, next.label_text));
}

}  // namespace

std::string sample_legend(bool colour) {
  if (!colour) return fmt::format("{}learned{}", kLearnedBegin, kLearnedEnd);
  return fmt::format("{}  {}  {}  {}", painted("learned", style_of(true, false)),
                     painted("not learned", style_of(false, false)),
                     painted("special, learned", style_of(true, true)),
                     painted("special", style_of(false, true)));
}

std::string sample_text(const SampleSummary& sample, bool colour) {
  std::string out;
  const std::vector<SampleToken>& tokens = sample.tokens;
  for (size_t i = 0; i < tokens.size();) {
    const SampleToken& first = tokens[i];
    const auto same = [&](const SampleToken& token) {
      return token.text.empty() ||
             (token.learned() == first.learned() && (!colour || token.special == first.special));
    };
    std::string run = tokens[i++].text;
    if (run.empty()) continue;
    while (i < tokens.size() && same(tokens[i])) run += tokens[i++].text;
    run = visible(run, Lines::kKeep);
    if (colour) {
      out += painted_lines(run, style_of(first.learned(), first.special));
    } else if (first.learned()) {
      out += fmt::format("{}{}{}", kLearnedBegin, run, kLearnedEnd);
    } else {
      out += run;
    }
  }
  return indented(out);
}

std::string token_table(const SampleSummary& sample, bool colour) {
  const std::vector<SampleToken>& tokens = sample.tokens;
  constexpr size_t kTextColumns = 24;
  std::string out = fmt::format("{}{:>6} {:>8}  {:<{}}  {:<7}  {}\n", kIndent, "index", "id",
                                "text", kTextColumns, "", "predicts");
  for (size_t i = 0; i < tokens.size(); ++i) {
    const SampleToken& token = tokens[i];
    std::string text = shown(token.text, token.spelling);
    const size_t columns = columns_of(text);
    if (colour) text = painted(text, style_of(token.learned(), token.special));
    text.append(kTextColumns - std::min(columns, kTextColumns), ' ');
    std::string line =
        fmt::format("{}{:>6} {:>8}  {}  {:<7}  {}", kIndent, i, token.id, text,
                    token.learned() ? "learned" : "",
                    i + 1 < tokens.size() ? predicted(tokens[i + 1]) : std::string());
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  const auto is_part = [](const SampleToken& token) { return token.text.empty(); };
  if (std::ranges::any_of(tokens, is_part)) {
    out += fmt::format("{}‹ ›: as the vocabulary spells it; the text comes with a later token\n",
                       kIndent);
  }
  return out;
}

}  // namespace tessera::launch
